"""What a benchmark found: a table for the eye, JSON for the record, a plot where matplotlib is installed."""

import json


def table(figures, rows, values, pattern=None):
    width = max([len(name) for name in rows] + [8])
    print(" " * width + "".join(f"{heading:>14}" for _, heading, _, _ in figures))
    for name in rows:
        cells = []
        for figure, _, form, _ in figures:
            value = values[name].get(figure)
            cells.append("-" if value is None else (pattern or form).format(value))
        print(f"{name:<{width}}" + "".join(f"{cell:>14}" for cell in cells))


def show(result, figures):
    about = result["machine"]
    print(f"over {result['over']}, {about['processors']} x {about['processor']}, Linux {about['kernel']}, TCP by {about['congestion']}, "
          f"load before {about['load_average']:.1f}, {result['seconds']} s\n")
    for name, version in result["versions"].items():
        print(f"  {name}: {version}")
    for name, why in result["skipped"].items():
        print(f"  {name}: skipped: {why}")
    for failure in result["failures"]:
        print(f"  FAILED: {failure}")
    print("\nmedians:")
    table(figures, list(result["medians"]), result["medians"])
    others = [name for name, values in result["ratios"].items() if values]
    if others:
        print(f"\n{result['own']} to each (median of the rounds' ratios):")
        table(figures, others, result["ratios"], "{:.2f}x")


def plot(result, figures, path):
    try:
        import matplotlib
    except ImportError:
        print("plot: skipped: matplotlib is not installed")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot
    names = list(result["medians"])
    measured = [row for row in figures if any(row[0] in values for values in result["medians"].values())]
    columns = min(len(measured), 4)
    rows = -(-len(measured) // columns)
    figure, axes = pyplot.subplots(rows, columns, squeeze=False, layout="constrained",
                                   figsize=(3.6 * columns, 3.2 * rows))
    for axis in axes.flat[len(measured):]:
        axis.set_visible(False)
    for axis, (key, heading, form, more) in zip(axes.flat, measured):
        values = [result["medians"][name].get(key, 0) for name in names]
        bars = axis.bar(names, values, color=["#b5482f" if name == result["own"] else "#8a9aa8" for name in names])
        axis.bar_label(bars, labels=[form.format(value) for value in values], fontsize=8)
        axis.set_title(f"{heading} ({'more' if more else 'less'} is better)", fontsize=10)
        axis.tick_params(axis="both", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Over {result['over']}, medians of interleaved rounds", fontsize=11)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    print(f"plot: {path}")


def write(result, figures, directory, stem):
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{stem}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\nJSON: {path}")
    plot(result, figures, directory / f"{stem}.png")
