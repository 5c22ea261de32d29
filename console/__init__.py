"""What people touch: the `deepsound` command and its reports."""
