"""The upload of the Sensors Analytics SDK, as its Android source writes it
(sensorsdata/sa-sdk-android, AnalyticsMessages and SADataHelper): a form with `data_list` =
base64(gzip(JSON array)). The form is real, the values are made up."""

import base64
import gzip
import json
import urllib.parse

PHONE = {"$model": "Redmi Note 8", "$os": "Android", "miui_region": "EU", "internet_status": "wifi"}
EVENTS = [
    ("search", {"search_word": "is my phone watching me", "used_searchengine": "duckduckgo"}),
    ("page_load_event_finish", {"url": "https://news.example.org/a-private-matter"}),
]


def upload():
    """The body that Mi Browser sends for EVENTS."""
    events = [
        {
            "distinct_id": "5f1c9f0e-made-up",
            "lib": {"$lib": "Android", "$lib_method": "code", "$lib_version": "3.2.8"},
            "type": "track",
            "event": event,
            "time": 1588239000000 + 1000 * number,
            "properties": properties | PHONE,
        }
        for number, (event, properties) in enumerate(EVENTS)
    ]
    text = json.dumps(events, separators=(",", ":"))
    data = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    return urllib.parse.urlencode({"crc": java_hash(data), "gzip": 1, "data_list": data})


def java_hash(text):
    """String.hashCode of Java, which the SDK sends as `crc`."""
    value = 0
    for character in text:
        value = (31 * value + ord(character)) & 0xFFFFFFFF
    return value - (value >> 31 << 32)


if __name__ == "__main__":
    print(upload(), end="")
