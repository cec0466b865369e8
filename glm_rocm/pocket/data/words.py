"""Word lists of the generator. Training never sees the `*_HELD_OUT` lists: the held-out sets are made of them."""

from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


CITIES = [
    *_words(
        "Oslo Paris London Berlin Madrid Rome Vienna Prague Dublin Lisbon Athens Cairo Tokyo Kyoto Seoul Beijing "
        "Shanghai Delhi Mumbai Bangkok Hanoi Sydney Perth Toronto Boston Chicago Denver Austin Seattle Miami Lima "
        "Quito Nairobi Lagos Accra Tunis Warsaw Zurich Geneva Milan Naples Munich Hamburg Lyon Porto Bergen Brno Graz "
        "Turin Bilbao"
    ),
    "New York",
    "San Francisco",
    "Hong Kong",
    "Bogotá",
    "São Paulo",
    "Malmö",
    "Köln",
    "Łódź",
]
CITIES_HELD_OUT = [
    *_words(
        "Helsinki Reykjavik Montreal Jakarta Manila Edinburgh Valencia Krakow Marrakesh Adelaide Osaka Houston "
        "Amsterdam"
    ),
    "Los Angeles",
    "Tromsø",
    "Zürich",
]
NAMES = _words(
    "Anna Ben Clara David Emma Felix Grace Henry Iris Jack Kate Leo Mia Noah Olga Paul Rosa Sam Tina Victor Wendy "
    "Yusuf Zoe Ali Bao Chen Dina Eva Fatima Hugo José Zoë Jürgen Maria Alice Bob Carol Dave Frank Peter"
)
NAMES_HELD_OUT = _words(
    "Priya Marcus Ingrid Tomasz Keiko Santiago Beatrix Omar Lucille Dmitri Renée Søren Walter Gloria"
)
THINGS = _words(
    "lamp book car bike tree boat clock chair table phone garden river stone bread apple cheese tea coffee soup cake "
    "music chess tennis paint photo map letter box key door window cat dog horse bird fish rose snow rain sun cloud "
    "house bridge forest silver yellow green blue red black white little old new light winter summer piano pencil "
    "milk train plane ship market school king queen dream story number machine paper bottle shoes jacket"
)
THINGS_HELD_OUT = _words(
    "violin umbrella telescope blanket guitar ladder compass lantern puzzle kettle hammer pillow saddle mirror candle"
)

VERBS = _words(
    "get set find open close start stop send read write list add remove update check book order cancel track play "
    "save load move copy print scan lock rename share create show run search count sort call pay return"
)
VERBS_HELD_OUT = _words("fetch publish archive rotate verify delete submit export")
NOUNS = _words(
    "weather room light file song ticket parcel user note task event report table image video account price stock "
    "flight hotel message door alarm timer channel camera server record card bill page menu folder sensor heater "
    "order items address contact issue team product car window data city job"
)
NOUNS_HELD_OUT = _words("invoice battery magazine printer elevator recipe playlist contract vehicle passport")

STRING_ARGUMENTS = _words(
    "city name date day color title id code mode owner place target source format state kind label topic query user "
    "email text file path url country location unit language phone reason start end message subject key"
)
STRING_ARGUMENTS_HELD_OUT = _words("region brand category seat author street")
INTEGER_ARGUMENTS = _words("count size level number limit age days minutes year page quantity seats")
INTEGER_ARGUMENTS_HELD_OUT = _words("priority duration floor")
NUMBER_ARGUMENTS = _words("amount price weight speed temperature distance")
NUMBER_ARGUMENTS_HELD_OUT = _words("height rate")
BOOLEAN_ARGUMENTS = _words("urgent active public verbose force")
BOOLEAN_ARGUMENTS_HELD_OUT = _words("private silent")

RESULT_KEYS = _words(
    "temperature condition price state time total status owner place color code result name city humidity wind date id "
    "count message title size weight level next last balance delay gate"
)
RESULT_KEYS_HELD_OUT = _words("region carrier rating seat author")

SYSTEM_PROMPTS = [
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer shortly.",
    "Be brief.",
    "Answer in one sentence.",
    "You are a friendly assistant that uses tools when they help.",
    "Use the tools when you need them.",
    "You are the assistant of a small shop.",
    "Today is Monday. Be polite.",
    "You answer questions about numbers, texts and tools.",
]

HELD_OUT = frozenset(
    word
    for held_out in (
        CITIES_HELD_OUT, NAMES_HELD_OUT, THINGS_HELD_OUT, VERBS_HELD_OUT, NOUNS_HELD_OUT, STRING_ARGUMENTS_HELD_OUT,
        INTEGER_ARGUMENTS_HELD_OUT, NUMBER_ARGUMENTS_HELD_OUT, BOOLEAN_ARGUMENTS_HELD_OUT, RESULT_KEYS_HELD_OUT,
    )
    for name in held_out
    for word in name.split()
)  # fmt: skip
"""All of the above that training never sees in their place."""
