#!/usr/bin/env python3
"""Derive online_retail_orders.csv.gz from the order lines of UCI "Online Retail".

Usage: data/derive.py online_retail.csv.gz > data/online_retail_orders.csv.gz

The usual cleaning: lines with a customer, not of a cancelled invoice (number
with a leading C), quantity > 0 and unit price > 0.  One row per invoice: its
earliest line's time, the sum of quantity * unit_price, and the pieces.

Stops with an error unless the result has the published totals.  The output is
the same bytes on every run.
"""
import csv
import decimal
import gzip
import io
import sys

EXPECTED = {"lines": 397884, "orders": 18532, "customers": 4338, "revenue": "8911407.904"}


def orders(path):
    rows, lines = {}, 0
    with gzip.open(path, "rt", encoding="utf-8", newline="") as source:
        for line in csv.DictReader(source):
            quantity, price = int(line["quantity"]), decimal.Decimal(line["unit_price"])
            if not line["customer_id"] or line["invoice_no"].startswith("C") or quantity <= 0 or price <= 0:
                continue
            lines += 1
            order = rows.setdefault(line["invoice_no"], {
                "invoice_no": line["invoice_no"],
                "customer_id": line["customer_id"],
                "invoice_date": line["invoice_date"],
                "total": decimal.Decimal(0),
                "items": 0,
                "country": line["country"],
            })
            if (order["customer_id"], order["country"]) != (line["customer_id"], line["country"]):
                sys.exit(f"invoice {line['invoice_no']} has two customers or countries")
            order["invoice_date"] = min(order["invoice_date"], line["invoice_date"])
            order["total"] += quantity * price
            order["items"] += quantity
    return sorted(rows.values(), key=lambda o: (o["invoice_date"], o["invoice_no"])), lines


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    rows, lines = orders(sys.argv[1])
    found = {
        "lines": lines,
        "orders": len(rows),
        "customers": len({o["customer_id"] for o in rows}),
        "revenue": str(sum(o["total"] for o in rows)),
    }
    if found != EXPECTED:
        sys.exit(f"expected {EXPECTED}, found {found}")
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=sys.stdout.buffer, mtime=0) as out:
        out.write(text.getvalue().encode("utf-8"))


if __name__ == "__main__":
    main()
