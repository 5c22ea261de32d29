"""Third-party reasoners for tests: they ignore the picture and take loud audio for voice-over.

`meter:<dBFS>`: the probability is one half if the loudest sample is at that level.
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
"""The same, with an observer of stills that it does not use."""

HEARING = (
    CODE.replace("JUDGE_PROMPT, PLAN", "JUDGE_PROMPT, SILENCE_PROMPT, PLAN").replace("meter:", "listener:")
    + """
    def is_silent(self, audio):
        words = {-90: "The audio is not silent.", -80: "The audio is silent."}
        return Reply(words.get(self.level, "Hm."), SILENCE_PROMPT, prompt_tokens=7, reply_tokens=5)
"""
)
"""`listener:<dBFS>`: the same; of silence, it says no at -90 dBFS, yes at -80, else nothing clear."""
