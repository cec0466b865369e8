"""The catalogue: tools that many people write, each asked for in the words people use."""

from __future__ import annotations

from glm_rocm.pocket.data import values
from glm_rocm.pocket.data.requests import Argument
from glm_rocm.pocket.data.tool_kinds import (
    CURRENCIES,
    LANGUAGES,
    ROOMS,
    KnownTool,
    amount,
    declared,
    expression,
    integer,
    item_ids,
    message,
    one_of,
    order_id,
    symbol,
)
from glm_rocm.pocket.data.turns import forms

CITY = Argument("city", "string", "The name of the city.")
KNOWN_TOOLS = [
    KnownTool(
        declared("get_weather", "Get the weather in a city.", CITY),
        {"city": values.city},
        forms("""
            What is the weather in {city}? | Weather of {city}? | Check the weather in {city}. |
            Please check the weather of {city}. | Check {city} weather | Get me the weather of {city}. |
            Find the weather in {city} for me. | How is the weather of {city}? | The weather in {city}, please. |
            Is it warm in {city}? | I need the weather in {city}. | Show the weather for {city}. |
            Do I need a jacket in {city}? | How is the weather in {city} today? | Weather in {city}? |
            Will it rain in {city}? | Tell me the weather in {city}, please. | What's the weather like in {city}? |
            Is it cold in {city}? | Please get the weather for {city}. | What is the weather like in {city}? |
            weather {city} | Does it snow in {city}? | I want to know the weather in {city}. |
            Can you check the weather in {city}? | How warm is it in {city} now? |
            What's the weather in {city} today? | Check the weather of {city} for me.
        """),
    ),
    KnownTool(
        declared(
            "get_weather",
            "Get current temperature for a given location.",
            Argument("location", "string", "City and country"),
        ),
        {"location": values.city},
        forms("""
            What is the weather in {location}? | How is the weather in {location}? |
            Check the weather of {location}. | Get the temperature in {location}. |
            What is the temperature in {location}? | Show me the temperature of {location}. |
            I need the weather for {location}. | Is it cold in {location} now? |
            What is the weather like in {location} today? | Weather in {location}? |
            What's the temperature in {location}? | How warm is it in {location}? |
            Tell me the weather in {location}. | What is the temperature in {location} now? |
            Is it warm in {location}?
        """),
    ),
    KnownTool(
        declared(
            "get_current_weather",
            "Get the current weather in a given location",
            Argument("location", "string", "The city"),
            Argument("unit", "string", "", ("celsius", "fahrenheit")),
        ),
        {"location": values.city, "unit": one_of(["celsius", "fahrenheit"])},
        forms("""
            What is the weather in {location} in {unit}? | Give me the weather of {location} in {unit}. |
            Check the weather in {location}, in {unit} please. | I want the weather in {location} in {unit}. |
            What is the temperature in {location} in {unit}? | Weather in {location}, {unit} |
            Tell me the weather of {location} in {unit}. | In {unit}, how warm is it in {location}? |
            What's the weather like in {location} in {unit}? | How is the weather in {location}? Use {unit}. |
            Give me the weather in {location} in {unit}.
        """),
    ),
    KnownTool(
        declared(
            "send_message",
            "Send a message to a person.",
            Argument("to", "string", "Who gets it."),
            Argument("text", "string", "The text."),
        ),
        {"to": values.person, "text": message},
        forms("""
            Tell {to} {text} | Send {text} to {to} | Message to {to}: {text} | A message for {to}: {text} |
            Send to {to}: {text} | Text to {to}: {text} | Say to {to}: {text} | Please message {to}: {text} |
            Please text {to}: {text} | Send {to} the message {text} | Write to {to}: {text} |
            Send a message to {to}: {text} | Message {to}: {text} | Please tell {to}: {text} |
            Please send {text} to {to} | Let {to} know: {text} | Text {to}: {text}
        """),
    ),
    KnownTool(
        declared(
            "send_email",
            "Send an email.",
            Argument("to", "string", "The address."),
            Argument("subject", "string", "The subject line."),
        ),
        {"to": values.email, "subject": values.phrase},
        forms("""
            Send an email to {to} with the subject {subject} | Mail {to} with the subject {subject} |
            Send a mail to {to}, subject {subject} | New email to {to}: {subject} |
            Please write to {to}, subject {subject} | Write an email with the subject {subject} to {to} |
            Email {to} with subject {subject} | Write an email to {to}, subject {subject} |
            Send {to} an email. The subject is {subject} | Please email {to}: {subject} |
            Mail to {to}, subject: {subject} | Write to {to} with the subject {subject}
        """),
    ),
    KnownTool(
        declared(
            "find_route",
            "Find the way between two places.",
            Argument("start", "string", "Where to start."),
            Argument("end", "string", "Where to go."),
        ),
        {"start": values.city, "end": values.city},
        forms("""
            How do I get from {start} to {end}? | I want to get from {start} to {end}. |
            Please find the way from {start} to {end}. | Show me a route from {start} to {end}. |
            How do I go from {start} to {end}? | I need the way from {start} to {end}. |
            I go from {start} to {end}. | Find a route from {start} to {end}. | Way from {start} to {end}? |
            I am in {start} and want to go to {end}. | How far is it from {start} to {end}? |
            Route from {start} to {end} | Show me the way from {start} to {end}. |
            I want to go from {start} to {end}.
        """),
    ),
    KnownTool(
        declared(
            "convert_currency",
            "Convert money.",
            Argument("amount", "number", "How much."),
            Argument("from", "string", "The currency."),
            Argument("to", "string", "The new currency."),
        ),
        {"amount": amount, "from": one_of(CURRENCIES), "to": one_of(CURRENCIES)},
        forms("""
            Convert {amount} {from} to {to}. | Please change {amount} {from} to {to}. |
            I want to convert {amount} {from} to {to}. | How many {to} is {amount} {from}? |
            Give me {amount} {from} in {to}. | Turn {amount} {from} into {to}. |
            Convert {amount} {from} into {to}, please. | How much is {amount} {from} in {to}? |
            {amount} {from} in {to}? | Change {amount} {from} into {to}. | What is {amount} {from} in {to}? |
            I have {amount} {from}. How much is that in {to}? | Please convert {amount} {from} into {to}.
        """),
    ),
    KnownTool(
        declared("set_timer", "Set a timer.", Argument("minutes", "integer", "The number of minutes.")),
        {"minutes": integer(1, 200)},
        forms("""
            Set a timer for {minutes} minutes. | Set the timer to {minutes} minutes. |
            Please start a timer for {minutes} minutes. | A timer of {minutes} minutes, please. |
            I want a timer of {minutes} minutes. | Start a {minutes} minutes timer. |
            Call me in {minutes} minutes. | Wake me in {minutes} minutes. | Timer {minutes} minutes |
            Start a timer of {minutes} minutes. | Please set a timer for {minutes} minutes. |
            Tell me when {minutes} minutes are over. | I need a timer for {minutes} minutes.
        """),
    ),
    KnownTool(
        declared("track_order", "Find an order.", Argument("order_id", "string", "The id of the order.")),
        {"order_id": values.code},
        forms("""
            Where is my order {order_id}? | Please find order {order_id}. | Can you find my order {order_id}? |
            Track my order {order_id}, please. | I want to track order {order_id}. |
            Show me where order {order_id} is. | Is my order {order_id} on the way? | Track order {order_id}. |
            Order {order_id}, where is it? | Please track my order {order_id}. | When does order {order_id} come? |
            What is the state of order {order_id}? | Find my order {order_id}. | Can you track order {order_id}?
        """),
    ),
    KnownTool(
        declared(
            "return_delivered_order_items",
            "Return some items of a delivered order.",
            Argument("order_id", "string", "The order id, such as '#W0000000'."),
            Argument("item_ids", "array", "The item ids to be returned."),
            Argument("payment_method_id", "string", "The payment method id."),
        ),
        {"order_id": order_id, "item_ids": item_ids, "payment_method_id": values.code},
        forms("""
            Return the items {item_ids} of order {order_id} to {payment_method_id}. |
            I need to return {item_ids} of order {order_id}, payment method {payment_method_id}. |
            Return {item_ids} from my order {order_id} with payment {payment_method_id}. |
            Please return the items {item_ids} from order {order_id} to {payment_method_id}. |
            For order {order_id} return {item_ids} and pay to {payment_method_id}. |
            I want to return {item_ids} from order {order_id}, pay back to {payment_method_id}. |
            Please return {item_ids} of my order {order_id}. My payment method is {payment_method_id}. |
            Order {order_id}: return items {item_ids}, payment {payment_method_id}. |
            I want to return the items {item_ids} of order {order_id} with {payment_method_id}.
        """),
    ),
    KnownTool(
        declared("search_web", "Search the web.", Argument("query", "string", "What to search.")),
        {"query": message},
        forms("""
            Search the web for {query} | Please look up {query} | Find {query} on the web | Web search: {query} |
            Can you search for {query} | I want to know about {query} | Please find {query} | Search: {query} |
            Look up {query} | Find web pages about {query} | Search for {query} | Please search the web: {query} |
            What does the web say about {query} | Look on the web for {query}
        """),
    ),
    KnownTool(
        declared("play_song", "Play a song.", Argument("title", "string", "The title of the song.")),
        {"title": values.phrase},
        forms("""
            Play {title} | Let me hear {title} | Please play the song {title}. | Play me {title} | Put on {title} |
            Start {title} | Play the music {title} | Can you play {title}? | Start playing {title} |
            I want the song {title}. | Play the song {title}. | I want to hear {title} | Please play {title} |
            Can you play the song {title}? | Start the song {title}.
        """),
    ),
    KnownTool(
        declared("get_price", "Get the price of a stock.", Argument("symbol", "string", "The symbol of the stock.")),
        {"symbol": symbol},
        forms("""
            What is the price of {symbol}? | Check the price of {symbol}. | Show me the price of {symbol}. |
            How much does {symbol} cost? | I need the price of {symbol}. | Find the price of {symbol}, please. |
            The stock price of {symbol}? | Price of {symbol}? | How much is {symbol} now? |
            Get the price of {symbol}. | What does {symbol} cost? | Tell me the price of {symbol}. |
            How much does a stock of {symbol} cost?
        """),
    ),
    KnownTool(
        declared("calculate", "Calculate an expression.", Argument("expression", "string", "The expression.")),
        {"expression": expression},
        forms("""
            Calculate {expression} | Calculate {expression} with the tool | Run the tool for {expression} |
            Use the tool: {expression} | With the tool, compute {expression} |
            Please use the tool to compute {expression} | Use the tool to calculate {expression} |
            Compute {expression} with the tool | What is {expression}? Use the tool. |
            Please calculate {expression} with the tool. | Let the tool calculate {expression}
        """),
    ),
    KnownTool(
        declared(
            "translate",
            "Translate a text.",
            Argument("text", "string", "The text."),
            Argument("language", "string", "The language."),
        ),
        {"text": message, "language": one_of(LANGUAGES)},
        forms("""
            Translate {text} into {language} | Translate {text} to {language} | Please say {text} in {language} |
            {text} in {language}, please | Please put {text} into {language} | I need {text} in {language} |
            Translate to {language}: {text} | What is {text} in {language}? | How do you say {text} in {language}? |
            Say {text} in {language} | Put {text} into {language} | Please translate {text} to {language}
        """),
    ),
    KnownTool(
        declared("read_file", "Read a file.", Argument("path", "string", "The path of the file.")),
        {"path": values.path},
        forms("""
            Read the file {path} | Please open {path} | Please show me the file {path} | I want to read {path} |
            Show the file {path} | Read me {path} | Get the file {path} | What does {path} say? | Open {path} |
            Show me {path} | What is in {path}? | Read {path} for me | Print the file {path} | Please read {path}
        """),
    ),
    KnownTool(
        declared("turn_on_light", "Turn on the light in a room.", Argument("room", "string", "The room.")),
        {"room": one_of(ROOMS)},
        forms("""
            Turn on the light in the {room}. | Please turn on the light in the {room}. | Light on in the {room}. |
            Turn the {room} light on. | Turn on the {room} light. | I want light in the {room}. |
            The {room} needs light. | Light in the {room}, please. | It is dark in the {room}. |
            Please turn on the {room} light. | Make light in the {room}. | I need light in the {room}.
        """),
    ),
    KnownTool(
        declared(
            "create_event",
            "Create an event in the calendar.",
            Argument("title", "string", "The title."),
            Argument("date", "string", "The date."),
        ),
        {"title": values.phrase, "date": values.date},
        forms("""
            Create an event {title} on {date}. | Please create an event {title} on {date}. |
            New event {title} on {date}. | On {date}: {title}. Add it to the calendar. |
            Put {title} on {date} into the calendar. | I have {title} on {date}. Add it to the calendar. |
            On {date} there is {title}. Create an event. | Put {title} into my calendar on {date}. |
            Plan {title} for {date}. | New event on {date}: {title} | Add {title} to the calendar on {date}. |
            On {date} I have {title}. Put it into the calendar.
        """),
    ),
    KnownTool(
        declared(
            "book_flight",
            "Book a flight.",
            Argument("from", "string", "The start."),
            Argument("to", "string", "The end."),
            Argument("date", "string", "The day."),
        ),
        {"from": values.city, "to": values.city, "date": values.date},
        forms("""
            Book a flight from {from} to {to} on {date}. | I need a flight from {from} to {to} on {date}. |
            On {date} I fly from {from} to {to}. | Please book a flight to {to} from {from} on {date}. |
            I want a flight to {to} from {from} on {date}. | Book me a flight on {date} from {from} to {to}. |
            Fly me from {from} to {to} on {date}. | Flight to {to} from {from} on {date} |
            I want to fly from {from} to {to} on {date}. | Flight from {from} to {to}, {date} |
            On {date} I want to fly from {from} to {to}. | Please book me a flight from {from} to {to} on {date}. |
            I need a flight to {to} from {from} on {date}.
        """),
    ),
    KnownTool(
        declared("get_user", "Get a user.", Argument("user_id", "integer", "The id of the user.")),
        {"user_id": integer(1, 99999)},
        forms("""
            Who is user {user_id}? | Please get the user {user_id}. | I want to see user {user_id}. |
            Find the user with id {user_id}. | Show user {user_id}. | Get me the user with the id {user_id}. |
            User {user_id}, please. | Get user {user_id}. | Show me the user {user_id}. |
            Tell me about user {user_id}. | Find user {user_id} | I need the user with the id {user_id}.
        """),
    ),
    KnownTool(
        declared(
            "set_temperature",
            "Set the temperature of a room.",
            Argument("room", "string", "The room."),
            Argument("temperature", "number", "The temperature."),
        ),
        {"room": one_of(ROOMS), "temperature": lambda random, split: round(random.uniform(-30, 40), 1)},
        forms("""
            Set the {room} to {temperature} degrees. | Set the temperature in the {room} to {temperature}. |
            Please set the {room} to {temperature} degrees. | The {room} should have {temperature} degrees. |
            Change the temperature of the {room} to {temperature}. | I need {temperature} degrees in the {room}. |
            I want {temperature} degrees in the {room}. | Make it {temperature} degrees in the {room}. |
            Heat the {room} to {temperature} degrees. | Temperature in the {room}: {temperature} |
            Set the temperature of the {room} to {temperature}.
        """),
    ),
    KnownTool(
        declared("get_time", "Get the current time."),
        {},
        forms("""
            What time is it? | The time, please. | Tell me the time, please. | I need the time. |
            What is the time, please? | Can you tell me what time it is? | What time is it now? |
            Please tell me the time. | Check the time. | Tell me the time. | What is the time? | How late is it? |
            Time, please. | Do you know the time? | Can you tell me the time? | What is the time now? |
            Give me the time, please.
        """),
    ),
    KnownTool(
        declared("list_users", "List all users."),
        {},
        forms("""
            List all users. | Show all users. | I want to see all users. | Give me all users. |
            Tell me who the users are. | The list of users, please. | Get the users. | Show me the users. |
            Which users are there? | Who are the users? | Give me the list of users. | Please list the users.
        """),
    ),
    KnownTool(
        declared("get_status", "Get the status of the server."),
        {},
        forms("""
            What is the status of the server? | How is the server today? | Please get the status of the server. |
            Server status? | Check the server. | I need the status of the server. |
            Tell me the status of the server. | Give me the server status. | Is the server well? | Get the status. |
            Show me the status of the server. | How is the server? | Tell me the status. |
            Check the status of the server.
        """),
    ),
    KnownTool(
        declared("stop_music", "Stop the music."),
        {},
        forms("""
            Stop the music. | Stop the song. | Please stop the music. | Stop playing music. | Turn the music off. |
            I want no more music. | Stop the music now, please. | No more music, please. | Please stop the song. |
            Turn off the music. | Music off | Stop playing. | Stop this music.
        """),
    ),
    KnownTool(
        declared("python", "Run Python code.", Argument("code", "string", "The code to run.")),
        {"code": lambda random, split: f"print({expression(random, split)})"},
        forms("""
            Run {code} in python. | Please run {code} in python. | What does python print for {code}? |
            Let python run {code} | In python, run {code} | Execute {code} | Run {code} with python |
            Use python to run {code} | Run this python code: {code} | Please run {code} |
            Execute {code} with python | What does {code} print?
        """),
    ),
]
