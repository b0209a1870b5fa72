#!/usr/bin/python3
"""Aggregates of personal data, made in an enclave: how many persons are in each group, and means. Nothing else of the data leaves.

    aggregate.py [OPTION OF postern open]...

Fetches the sealed file through the route `inbox`, opens it with `postern open`, for which KMS gives the data key to this image alone, and
sends the aggregates through the route `results`.

What a program in an enclave writes is shown to the parent. So no message holds a value of the data, and no exception's text is
printed: it may quote one.
"""
import csv
import io
import json
import subprocess
import sys

# Measured with the image: nobody outside can have the data aggregated in another way, nor in smaller groups.
SEALED_FILE = ("inbox", "/people.sealed")
RESULTS = ("results", "/aggregates/people")
CONTEXT = ["--context", "dataset=people"]  # what the data owner sealed it with: another file is not taken for this one
PERSON = "email"
GROUP = "department"
MEANS = ("salary", "sick_days")
PERSONS_AT_LEAST = 5  # in a group, or nothing is told of it
PERSONS_AT_MOST = 5_000_000  # in the file: what fits the enclave's memory


class Refused(Exception):
    """Its text may be shown to everybody."""


class Aggregates:
    """Sums by group. A person counts once: else five lines of one person would make a group of five."""

    def __init__(self):
        self.persons = set()
        self.groups = {}

    def add(self, line, row):
        person, group = row.get(PERSON), row.get(GROUP)
        try:
            values = [int(row[name]) for name in MEANS]
        except (KeyError, TypeError, ValueError):
            raise Refused(f"line {line}: {' and '.join(MEANS)} are to be whole numbers") from None
        if not person or not group:
            raise Refused(f"line {line}: {PERSON} or {GROUP} is missing")
        person = person.strip().lower()
        if person in self.persons:
            raise Refused(f"line {line}: a person who was there before")
        if len(self.persons) == PERSONS_AT_MOST:
            raise Refused(f"more than {PERSONS_AT_MOST} persons")
        self.persons.add(person)
        sums = self.groups.setdefault(group, [0, *[0] * len(MEANS)])
        sums[0] += 1
        for index, value in enumerate(values, 1):
            sums[index] += value

    def told(self):
        """Without totals: with one, the group that is left out could be subtracted. For the same reason two are left out if one is."""
        groups = sorted(self.groups.items(), key=lambda item: (item[1][0], item[0]))
        small = sum(sums[0] < PERSONS_AT_LEAST for _, sums in groups)
        left_out = max(small, 2) if small else 0
        return {"persons_at_least": PERSONS_AT_LEAST, "groups": {
            name: {"persons": count, **{f"mean_{mean}": round(value / count, 2) for mean, value in zip(MEANS, sums)}}
            for name, (count, *sums) in sorted(groups[left_out:])}}


def aggregate(options):
    """Reads the file as it comes, in no more memory than the sums and the persons' addresses need."""
    aggregates = Aggregates()
    with subprocess.Popen(["postern", "send", *SEALED_FILE], stdout=subprocess.PIPE) as fetching, \
            subprocess.Popen(["postern", "open", *CONTEXT, *options], stdin=fetching.stdout, stdout=subprocess.PIPE) as opening:
        fetching.stdout.close()  # `open` is the reader, and its end is to be seen by `send`
        rows = csv.DictReader(io.TextIOWrapper(opening.stdout, encoding="utf-8", newline=""))
        for row in rows:
            aggregates.add(rows.line_num, row)
    # Every line so far was authentic, but only now it is certain that they were all.
    if fetching.returncode != 0 or opening.returncode != 0:
        raise Refused("the sealed file did not come, or could not be opened, whole: nothing is sent")
    return aggregates


def send(told):
    sending = subprocess.run(["postern", "send", *RESULTS, "-H", "content-type: application/json", "--data", "-"],
                             input=json.dumps(told).encode(), stdout=subprocess.DEVNULL, check=False)
    if sending.returncode != 0:
        raise Refused("the aggregates could not be sent")


def main():
    try:
        aggregates = aggregate(sys.argv[1:])
        told = aggregates.told()
        send(told)
    except Refused as reason:
        print(f"aggregate: {reason}", file=sys.stderr)
        return 1
    except Exception as problem:  # pylint: disable=broad-except  # whatever it is, its text stays here
        print(f"aggregate: failed with {type(problem).__name__}", file=sys.stderr)
        return 1
    print(f"aggregate: sent {len(told['groups'])} of {len(aggregates.groups)} groups")
    return 0


if __name__ == "__main__":
    sys.exit(main())
