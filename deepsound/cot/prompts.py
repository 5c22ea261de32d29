"""The prompts of DeepSound-V1 (arXiv 2503.22208, figures 1 and 2, and its released pipeline), word for word."""

PLAN_PROMPT = "Generate high-quality audio from video step-by-step."

PLAN = """\
Step1: Generate audio from video.
<Action> Generation audio from video using pretrained video-to-audio model. </Action>
Step2: Given a video and its generated audio, determine whether the audio contains voice-over.
<Condition1> If there is a voice-over in the audio, proceed to step3. </Condition1>
<Condition2> If there is no voice-over in the audio, it is the final high-quality audio generated. </Condition2>
Step3: Remove voice-over from audio.
<Action> Use an audio-to-audio model to remove voice-over from audio. </Action>
Step4: Determine whether the audio is silent.
<Condition1> If the audio is silent, high-quality audio cannot be generated. </Condition1>
<Condition2> If the audio is not silent, it is the final high-quality audio generated. </Condition2>
"""
"""The reply to `PLAN_PROMPT` (figure 1). With greedy decoding the released model always gives it."""

JUDGE_PROMPT = (
    "Given a video and its corresponding audio, determine whether the audio contains voice-over? "
    "Options: A. Yes, B. No. Choose A or B."
)

SILENCE_PROMPT = "Is the audio is silent?"
"""The third trained task, worded as in figure 2 (sic)."""

HUMAN_VOICE = "human voice"
"""The negative prompt of the `neg` fallback."""
