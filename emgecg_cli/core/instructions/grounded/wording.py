"""The sentences of interpretations that are written by rules; several for each thing that is said.

None of them says a diagnosis of its own: the checks read them as they read any other text.
"""

from __future__ import annotations

# The leads that look at one wall
TERRITORIES = {"inferior": ("II", "III", "aVF"), "lateral": ("I", "aVL", "V5", "V6"), "septal": ("V1", "V2"),
               "anterior": ("V3", "V4")}
OPENINGS = (
    "A first look at the tracing gives its rhythm and rate.", "The reading starts with rate and rhythm.",
    "I begin with the rhythm strip before turning to the single leads.",
    "Rate and rhythm come first, then the leads one by one.", "The rhythm is assessed first.",
)
RATE = (
    "The heart rate is about {rate} bpm.", "The ventricles beat at {rate} bpm.",
    "The heart rate measures {rate} bpm.", "Counted over the strip, the heart rate is {rate} bpm.",
)
RR = (
    "RR intervals run from {low} to {high} ms.", "The RR intervals lie between {low} and {high} ms.",
    "From beat to beat the RR interval takes {low} to {high} ms.",
)
REGULAR = ("The beats follow each other evenly.", "The spacing of the beats is even.",
           "The beats come at an even pace.")
IRREGULAR = ("The beats do not follow each other evenly.", "The spacing of the beats is uneven.",
             "The pace of the beats is uneven.")
NO_P = ("Before the QRS complexes there are no discernible P waves.",
        "No clear P waves precede the QRS complexes.")
WAVES_II = (
    "In lead II the P wave reaches {p} mV and lasts {length} ms, and the PR interval is {pr} ms.",
    "The P wave in II has an amplitude of {p} mV and a duration of {length} ms, with a PR interval of {pr} ms.",
    "Lead II shows P waves of {p} mV and {length} ms, followed by QRS after a PR interval of {pr} ms.",
)
QRS = (
    "In {lead} the QRS complex spans {height} mV and {length} ms", "{lead} shows a QRS amplitude of {height} mV over "
    "{length} ms", "Lead {lead} has a QRS amplitude of {height} mV and a QRS duration of {length} ms",
    "The QRS complex in {lead} measures {height} mV and {length} ms",
)
NOISY = ("Waves and intervals of the single leads cannot be measured well enough to quote them.",
         "In the single leads no wave or interval is clear enough for a value.")
ST_LEVEL = ("an ST level of {level} mV", "the ST segment at {level} mV", "ST at {level} mV")
T_WAVE = {
    "upright": ("an upright T wave of {height} mV", "a T wave that rises to {height} mV",
                "a positive T wave ({height} mV)"),
    "negative": ("a T wave that points down to {height} mV", "a T wave below the baseline ({height} mV)",
                 "a T wave of {height} mV"),
    "flat": ("hardly any T wave ({height} mV)", "a T wave of only {height} mV"),
}
SLOW = ("At {rate} bpm the rate lies below the usual range.", "A rate of {rate} bpm is slow for an adult at rest.")
FAST = ("At {rate} bpm the rate lies above the usual range.", "A rate of {rate} bpm is fast for an adult at rest.")
NORMAL = (
    "A PR interval of {pr} ms and a QRS duration of {qrs} ms show undisturbed conduction.",
    "With a PR interval of {pr} ms and QRS complexes of {qrs} ms, conduction is unremarkable.",
    "Conduction is unremarkable: the PR interval takes {pr} ms, the QRS complex {qrs} ms.",
)
QRS_VALUE = ("The QRS duration is {qrs} ms over all leads.", "Over all leads the QRS complex lasts {qrs} ms.")
FIBRILLATION = (
    "RR intervals that wander from {low} to {high} ms without a pattern are what fibrillating atria give.",
    "The RR intervals vary from {low} to {high} ms without any order, as they do in atrial fibrillation.",
)
EARLY_ONE = ("Beat {beats} comes early or has a shape of its own.", "Beat {beats} stands out by its timing or shape.")
EARLY = ("Beats {beats} come early or have a shape of their own.", "Beats {beats} stand out by their timing or shape.")
LONG_PR = ("At {pr} ms the PR interval is longer than it should be, so that conduction to the ventricles is slowed.",
           "The PR interval of {pr} ms is beyond its upper limit: atrial impulses reach the ventricles late.")
PR_VALUE = ("The PR interval takes {pr} ms.", "Over all leads the PR interval is {pr} ms.")
WIDE = ("At {qrs} ms the QRS complexes are broad, so that the ventricles are not activated together.",
        "A QRS duration of {qrs} ms means that the ventricles are activated one after the other.")
LEFT = ("The QRS axis at {axis}\u00b0 is turned far to the left.", "With an axis of {axis}\u00b0 the frontal plane is "
        "turned leftwards.")
RIGHT = ("The QRS axis at {axis}\u00b0 is turned far to the right.",
         "With an axis of {axis}\u00b0 the frontal plane is turned rightwards.")
AXIS_VALUE = ("The QRS axis lies at {axis}\u00b0.", "In the frontal plane the QRS axis is {axis}\u00b0.")
LONG_QTC = ("Corrected for the rate, QTc is {qtc} ms, longer than it should be.",
            "QTc is {qtc} ms, beyond its upper limit.")
QTC_VALUE = ("Corrected for the rate, QTc is {qtc} ms.", "QTc measures {qtc} ms.")
VOLTAGE = ("The QRS amplitude of {height} mV in {lead} is what the assessment of the ventricular mass rests on.",
           "For the ventricular mass, the QRS amplitude in {lead} counts: {height} mV.")
LOW_VOLTAGE = ("Even the larger of the limb leads, {lead}, has a QRS amplitude of only {height} mV.",
               "The QRS amplitude in {lead} is {height} mV, which is little.")
REGION = ("The {region} leads deserve attention, with T waves in {leads}.",
          "Over the {region} wall the T waves measure as follows: {leads}.")
ST_LEVELS = ("What counts here is {levels}.", "The ST segments stand out: {levels}.",
             "Measured against the PR segment there is {levels}.")
LOWEST_T = ("The T waves are lowest in {leads}.", "T waves are smallest or deepest in {leads}.")
CERTAIN = (
    "Taken together, these findings support the diagnosis of {diagnosis}.",
    "In summary, the tracing shows {diagnosis}.",
    "The overall picture is that of {diagnosis}.", "Putting this together, the diagnosis is {diagnosis}.",
    "These features add up to {diagnosis}.", "In conclusion, the ECG shows {diagnosis}.",
)
POSSIBLE = ("The findings also suggest possible {diagnosis}.", "Possible {diagnosis} has to be considered.",
            "The findings would fit possible {diagnosis} as well.")
DESCRIPTIVE = (
    "The findings stay descriptive, and no diagnosis is drawn from them.",
    "Beyond these measurements no diagnosis is made.",
)
