"""The ledger: schema, migrations, the only code that writes rows, queries."""
