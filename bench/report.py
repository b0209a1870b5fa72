"""What bench/relay found: a table for the eye, JSON for the record, a plot where matplotlib is installed."""

import json

# Figure, heading, format, and whether more is better.
FIGURES = (
    ("throughput", "bulk GB/s", "{:.2f}", True),
    ("cpu_per_gb", "CPU s/GB", "{:.3f}", False),
    ("file_throughput", "file GB/s", "{:.2f}", True),
    ("file_cpu_per_gb", "file CPU s/GB", "{:.3f}", False),
    ("rate", "short conn/s", "{:.0f}", True),
    ("p99", "p99 ms", "{:.2f}", False),
    ("cpu_per_1000", "CPU s/1000", "{:.3f}", False),
    ("idle_kib", "idle KiB", "{:.2f}", False),
)


def table(rows, values, pattern=None):
    width = max([len(name) for name in rows] + [8])
    print(" " * width + "".join(f"{heading:>14}" for _, heading, _, _ in FIGURES))
    for name in rows:
        cells = []
        for figure, _, form, _ in FIGURES:
            value = values[name].get(figure)
            cells.append("-" if value is None else (pattern or form).format(value))
        print(f"{name:<{width}}" + "".join(f"{cell:>14}" for cell in cells))


def show(result):
    about = result["machine"]
    print(f"over {result['over']}, {about['processors']} x {about['processor']}, Linux {about['kernel']}, "
          f"load before {about['load_average']:.1f}, {result['seconds']} s\n")
    for name, version in result["versions"].items():
        print(f"  {name}: {version}")
    for name, why in result["skipped"].items():
        print(f"  {name}: skipped: {why}")
    for failure in result["failures"]:
        print(f"  FAILED: {failure}")
    print("\nmedians:")
    table(list(result["medians"]), result["medians"])
    others = [name for name, values in result["ratios"].items() if values]
    if others:
        print("\nposternd to each (median of the rounds' ratios):")
        table(others, result["ratios"], "{:.2f}x")


def plot(result, path):
    try:
        import matplotlib
    except ImportError:
        print("plot: skipped: matplotlib is not installed")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot
    names = list(result["medians"])
    measured = [row for row in FIGURES if any(row[0] in values for values in result["medians"].values())]
    columns = min(len(measured), 4)
    rows = -(-len(measured) // columns)
    figure, axes = pyplot.subplots(rows, columns, squeeze=False, layout="constrained",
                                   figsize=(3.6 * columns, 3.2 * rows))
    for axis in axes.flat[len(measured):]:
        axis.set_visible(False)
    for axis, (key, heading, form, more) in zip(axes.flat, measured):
        values = [result["medians"][name].get(key, 0) for name in names]
        bars = axis.bar(names, values, color=["#b5482f" if name == "posternd" else "#8a9aa8" for name in names])
        axis.bar_label(bars, labels=[form.format(value) for value in values], fontsize=8)
        axis.set_title(f"{heading} ({'more' if more else 'less'} is better)", fontsize=10)
        axis.tick_params(axis="both", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Relays over {result['over']}, medians of interleaved rounds", fontsize=11)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    print(f"plot: {path}")


def write(result, directory, stem):
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{stem}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\nJSON: {path}")
    plot(result, directory / f"{stem}.png")
