"""The rules of the grammar of rewrites (bioR without a language model), as text.  Free of torch.

A text is six steps, each of which tells one attribute.  A step is a *frame* and, in its place, a *phrase*:

    state named     frame  , who VP , > verb       phrase  VP of university  graduated from {value}
    Anya Briar Forger      , who graduated from Boston University ,      and the state is now ``verb``

A frame stands in the state in which the text is and leads to another one; the word in capitals is the category of the
phrase.  ``{he}``, ``{his}``, ``{him}``, ``{first}`` and ``{last}`` mention the person, ``{value}`` is the attribute.
Categories: VP a finite verb with its value, PERFECT the same behind a ``having``, PARTICIPLE, APPOSITION a noun for the
person, NOMINAL a noun of the person with a verb, CLEFT a sentence of its own, in which the value comes early or the
verb is in the passive.  ``^`` before a category makes its first letter a capital.

Two rules keep the measurement exact, as ``tests/tasks/test_rewrites.py`` shows of the whole grammar.  Where a value
may follow, nothing else may: its place is certain from the words before it, so that a model which knows the person
loses nothing at it.  The same holds of the name, which opens the text, and of the first pronoun, which tells the
gender.  And no text can be derived in two ways.
"""

from __future__ import annotations

CONNECTIVES = ("In addition", "Moreover", "As it happens", "Over the years", "By all accounts", "On record", "In time")
CLOSED = ("first", "second", "clause", "joined")  # states in which a sentence may end
START, END = "named", "."

# sentences that begin with the value's phrase, or with a connective, and go on with the pronoun
_FRONTED = (". ^PARTICIPLE , > {front}", ". ^APPOSITION , > {front}", ". Having PERFECT , > {front}")
_CONNECTED = tuple(f". {words} , {{he}} VP > clause" for words in CONNECTIVES)
# how the second sentence may begin, or the first be joined to another: the first pronoun is certain where it comes
_SECOND = (*(frame.replace("{front}", "fronted") for frame in _FRONTED), *_CONNECTED,
           ", while {he} VP > joined", ", and {he} VP > joined")  # fmt: skip
_LATER = (
    *(frame.replace("{front}", "front") for frame in _FRONTED), *_CONNECTED,
    ". {He} VP > clause", ". {He} also VP > clause", ". {first} VP > clause", ". {last} VP > clause",
    ". {He} , APPOSITION , > subject", ". {last} , APPOSITION , > subject", ". {first} , who VP , > subject",
    ". {last} , PARTICIPLE , > subject", ". {His} NOMINAL > clause", ". {last} 's NOMINAL > clause",
    ". CLEFT > clause",
)  # fmt: skip

FRAMES: dict[str, tuple[str, ...]] = {
    # the full name has been said
    "named": ("VP > first", "'s NOMINAL > first", ", APPOSITION , > verb", ", PARTICIPLE , > verb",
              ", who VP , > verb"),
    "verb": ("VP > first",),
    # a sentence that may end, in which no pronoun has told the gender yet
    "first": ("and VP > second", ", PARTICIPLE > second", ", having PERFECT > second", *_SECOND),
    "second": _SECOND,
    "fronted": ("{he} VP > clause", "{he} also VP > clause"),
    # the gender has been told
    "front": ("{he} VP > clause", "{last} VP > clause", "{first} VP > clause"),
    "subject": ("VP > clause", "also VP > clause"),
    "clause": ("and VP > joined", "and also VP > joined", ", and {he} VP > joined", ", and {his} NOMINAL > joined",
               ", while {he} VP > joined", ", while {his} NOMINAL > joined", ", having PERFECT > joined",
               ", and {last} VP > joined", ", PARTICIPLE > joined", *_LATER),
    "joined": _LATER,
}  # fmt: skip

PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "VP": {
        "birth_date": ("was born on {value}", "came into the world on {value}", "entered the world on {value}",
                       "first drew breath on {value}", "was delivered on {value}", "began life on {value}",
                       "saw daylight first on {value}", "celebrated a first day on {value}",
                       "was welcomed into the world on {value}", "arrived on {value}"),
        "birth_city": ("was born in {value}", "came into the world in {value}", "entered the world in {value}",
                       "was a native of {value}", "was delivered in {value}", "began life in {value}",
                       "hailed originally from {value}", "was welcomed into the world in {value}",
                       "came originally from {value}", "called {value} the birthplace"),
        "university": ("graduated from {value}", "studied at {value}", "attended lectures at {value}",
                       "earned a degree from {value}", "was educated at {value}", "was a student at {value}",
                       "took classes at {value}", "held a diploma from {value}", "enrolled at {value}",
                       "spent the college years at {value}"),
        "major": ("majored in {value}", "was trained in {value}", "earned a degree in {value}",
                  "took courses in {value}", "chose {value} as a major", "focused on {value} in college",
                  "completed a degree in {value}", "wrote a thesis in {value}", "pursued studies in {value}",
                  "declared a major in {value}"),
        "employer": ("worked for {value}", "was employed by {value}", "joined the staff of {value}",
                     "had a career at {value}", "was hired by {value}", "served {value} as an employee",
                     "got a job with {value}", "was on the payroll of {value}", "built a career at {value}",
                     "drew a salary from {value}"),
        "employer_city": ("worked in {value}", "was employed in {value}", "had an office in {value}",
                          "held a job in {value}", "was hired in {value}", "earned a salary in {value}",
                          "went to work in {value}", "had a desk in {value}", "took a position in {value}",
                          "spent the workdays in {value}"),
    },
    "PERFECT": {
        "birth_date": ("been born on {value}", "come into the world on {value}", "entered the world on {value}",
                       "begun life on {value}"),
        "birth_city": ("been born in {value}", "come into the world in {value}", "entered the world in {value}",
                       "begun life in {value}"),
        "university": ("graduated from {value}", "studied at {value}", "been educated at {value}",
                       "earned a degree from {value}", "taken classes at {value}"),
        "major": ("majored in {value}", "been trained in {value}", "earned a degree in {value}",
                  "completed a degree in {value}", "taken courses in {value}"),
        "employer": ("worked for {value}", "been employed by {value}", "joined the staff of {value}",
                     "built a career at {value}", "been hired by {value}"),
        "employer_city": ("worked in {value}", "been employed in {value}", "held a job in {value}",
                          "taken a position in {value}", "been hired in {value}"),
    },
    "PARTICIPLE": {
        "birth_date": ("born on {value}", "delivered on {value}", "welcomed into the world on {value}"),
        "birth_city": ("born in {value}", "delivered in {value}", "welcomed into the world in {value}"),
        "university": ("educated at {value}", "taught at {value}", "once admitted to {value}", "enrolled at {value}"),
        "major": ("trained in {value}", "taught in courses of {value}", "awarded a degree in {value}"),
        "employer": ("employed by {value}", "hired by {value}", "paid by {value}", "once signed by {value}"),
        "employer_city": ("employed in {value}", "hired in {value}", "paid in {value}", "given a desk in {value}"),
    },
    "APPOSITION": {
        "birth_date": ("a person born on {value}", "a baby of {value}", "a newborn on {value}"),
        "birth_city": ("a person born in {value}", "a native of {value}", "a newborn in {value}"),
        "university": ("a graduate of {value}", "a student at {value}", "the holder of a degree from {value}"),
        "major": ("a person trained in {value}", "a student of {value}", "the holder of a degree in {value}"),
        "employer": ("an employee of {value}", "a manager at {value}", "a person employed by {value}"),
        "employer_city": ("an employee in {value}", "a manager in {value}", "a person employed in {value}"),
    },
    "NOMINAL": {
        "birth_date": ("birthday was {value}", "date of birth was {value}", "birth took place on {value}",
                       "life began on {value}"),
        "birth_city": ("birthplace was {value}", "city of birth was {value}", "birth took place in {value}",
                       "life began in {value}"),
        "university": ("university was {value}", "degree came from {value}", "studies took place at {value}",
                       "student years passed at {value}"),
        "major": ("major was {value}", "field of study was {value}", "degree was in {value}",
                  "thesis was in {value}"),
        "employer": ("employer was {value}", "salary came from {value}", "job was with {value}",
                     "career began at {value}"),
        "employer_city": ("workplace was in {value}", "office was in {value}", "job was in {value}",
                          "workdays passed in {value}"),
    },
    "CLEFT": {
        "birth_date": ("It was on {value} that {he} was born", "The date {value} saw {his} birth",
                       "Parents welcomed {him} on {value}", "A birth on {value} began {his} life"),
        "birth_city": ("It was as a native of {value} that {he} came into the world",
                       "The city of {value} was {his} birthplace", "Parents welcomed {him} in {value}",
                       "A birth in {value} began {his} life"),
        "university": ("It was at {value} that {he} studied", "The university {value} granted {his} degree",
                       "A degree was granted to {him} by {value}", "A diploma from {value} was awarded to {him}"),
        "major": ("It was in the field of {value} that {he} earned a degree", "The subject {value} was {his} major",
                  "A degree in {value} was awarded to {him}", "A thesis in {value} was written by {him}"),
        "employer": ("It was for {value} that {he} worked", "The company {value} employed {him}",
                     "A job was given to {him} by {value}", "A salary from {value} was paid to {him}"),
        "employer_city": ("It was by a job in {value} that {he} earned a salary",
                          "The office in {value} was {his} workplace", "A job in {value} was given to {him}",
                          "A desk in {value} was {his} workplace"),
    },
}  # fmt: skip
