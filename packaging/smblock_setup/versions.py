"""Versions of smblock: which one is newer, and which one a host has."""

import json
import os
import re

from smblock_setup import SM_HOME, SetupError, below, host, layout


def key(version):
    """Sorts versions: 0.9.0 before 0.10.0, and 1.0.0rc1 before 1.0.0."""
    found = re.match(r"(\d+(?:\.\d+)*)[-~.]?([a-z]*)[-.]?(\d*)", version)
    if found is None:
        raise SetupError("%r is no version" % version)
    numbers, pre, number = found.groups()
    return [int(part) for part in numbers.split(".")], pre == "", pre, int(number or 0)


def manifest(root):
    """What install.sh has noted of its last run: version, files, directories, replaced; None if there is no note."""
    path = below(root, layout.MANIFEST)
    try:
        with open(path) as file:
            return json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SetupError("%s cannot be read (%s): remove it, then try again" % (path, error)) from error


def installed(root):
    """The version that is installed, or None."""
    noted = manifest(root)
    if noted:
        return noted["version"]
    directory = below(root, SM_HOME)
    if not os.path.isdir(os.path.join(directory, "smblock")):
        return None
    code = "import sys; sys.path.insert(0, %r); import smblock; print(smblock.__version__)" % directory
    done = host.run([host.PYTHON, "-B", "-c", code], 20)
    return done.output.strip() or None
