"""A reasoner of a third party: it looks at nothing, and takes every sound that is loud enough for voice-over.

Named `meter:<dBFS>`: its probability is one half where the loudest sample is at that level.
"""

CODE = """
import math
import soundfile
from deepsound.cot import JUDGE_PROMPT, PLAN, PLAN_PROMPT, Stage, format_judgement
from deepsound.reasoning.protocol import Reply

class Plugin:
    version = "1"
    models = ()

    def __init__(self, level):
        self.level, self.name = float(level), f"meter:{level}"

    def observers(self):
        return ()

    def plan(self, footage):
        return Reply(PLAN, PLAN_PROMPT)

    def judge(self, footage, audio):
        peak = 20 * math.log10(float(abs(soundfile.read(audio)[0]).max()) + 1e-12)
        probability = 1 / (1 + math.exp((self.level - peak) / 6))
        is_loud = probability >= 0.5
        words = {
            Stage.SUMMARY: "I will read the meter.",
            Stage.CAPTION: f"The loudest sample is at {peak:.1f} dBFS.",
            Stage.REASONING: "There is a voice-over." if is_loud else "There is no voice-over.",
            Stage.CONCLUSION: "A" if is_loud else "B",
        }
        return Reply(format_judgement(words), JUDGE_PROMPT, probability, voice_heard=is_loud)
"""

WATCHING = CODE.replace("return ()", "return (StillsObserver(),)").replace(
    "import math", "import math\nfrom deepsound.reasoning.still_frames import StillsObserver"
)
"""The same, but it has stills kept that it does not look at."""

HEARING = (
    CODE.replace("JUDGE_PROMPT, PLAN", "JUDGE_PROMPT, SILENCE_PROMPT, PLAN").replace("meter:", "listener:")
    + """
    def is_silent(self, audio):
        words = {-90: "The audio is not silent.", -80: "The audio is silent."}
        return Reply(words.get(self.level, "Hm."), SILENCE_PROMPT, prompt_tokens=7, reply_tokens=5)
"""
)
"""`listener:<dBFS>`: the same, asked about silence it denies it at -90 dBFS, affirms it at -80, else shrugs."""
