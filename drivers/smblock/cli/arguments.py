"""The arguments that several commands have in common."""

import argparse

PREFIX = "device-config:"


class UsageError(Exception):
    """The arguments are wrong. The exit status is 2."""


class SrWords(argparse.Action):
    """Sorts words into the SR and the pairs of a device-config."""

    def __call__(self, parser, namespace, values, option_string=None):
        pairs, names = [], []
        for word in values:
            key, equals, value = word.partition("=")
            if equals and key.startswith(PREFIX):
                pairs.append((key[len(PREFIX) :], value))
            elif equals:
                parser.error("%r is not %sKEY=VALUE" % (word, PREFIX))
            else:
                names.append(word)
        if len(names) > 1:
            parser.error("one SR at a time, not %s: put a name with spaces into quotes" % " and ".join(names))
        namespace.device_config = dict(pairs)
        namespace.words = names


def add_command(commands, name, run, **texts):
    """A command's parser, with what every command has."""
    parser = commands.add_parser(name, **texts)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON instead of text")
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_group(commands, name, **texts):
    """A command that has commands of its own."""
    group = commands.add_parser(name, **texts).add_subparsers(dest="subcommand", metavar="COMMAND")
    group.required = True
    return group


def add_sr(parser, by_hand=True):
    """The SR, as a word or as --sr. With `by_hand` also a device-config."""
    parser.add_argument("--sr", metavar="SR", help="the SR's UUID or name; for a name that has the character '='")
    text = "the SR's UUID or name"
    if by_hand:
        text += ", and the device-config as for xe sr-create if this pool does not have the SR"
    metavar = "SR|%sKEY=VALUE" % PREFIX if by_hand else "SR"
    parser.add_argument("words", nargs="*", action=SrWords, default=[], metavar=metavar, help=text)
    parser.set_defaults(device_config={})


def add_vdi(parser, yes_means):
    add_sr(parser)
    parser.add_argument("--vdi", required=True, metavar="UUID")
    parser.add_argument("--yes", action="store_true", help=yes_means)
