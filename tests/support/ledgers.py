"""Lines of results.tsv as people have them."""

A = "a1b2c3d\t0.286000\t0.811000\t0.3\tkeep\tbaseline (wide arch, SGD lr=0.01)"
B = "b2c3d4e\t0.568000\t0.896000\t0.5\tKEEP\twider channels — bin_acc +8.5pp"
C = "d4e5f6g\t0.000000\t0.000000\t0.0\tCrash\tdoubled width (OOM)"


def write(path, *lines, end="\n"):
    path.write_text("".join(line + end for line in lines))
    return path
