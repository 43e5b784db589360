"""The man page and the completion of `smblock`, made of its parser: `smblock --man`, `smblock --completion`.

Only what argparse has in every version is used, so each Python makes the same text.
"""

import argparse

# The words after a command are its options, its own commands, and the UUIDs of SRs.
_SHELL = """# Completion of bash for smblock. Made by `smblock --completion`: do not edit.
_smblock() {
    local word=${COMP_WORDS[COMP_CWORD]} path="" words="" each
    for each in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case " $_smblock_paths " in *" $path$each "*) path="$path$each/" ;; esac
    done
    case $path in
%s    esac
    if [[ $word != -* && $words == *--sr* ]] && type xe >/dev/null 2>&1; then
        for each in cephrbd crucible; do
            words+=" $(xe sr-list type=$each --minimal 2>/dev/null | tr , ' ')"
        done
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
_smblock_paths="%s"
complete -F _smblock smblock smblock-admin
"""


def man(parser, version):
    """The man page, as troff."""
    lines = ['.TH SMBLOCK 8 "" "smblock %s" "System administration"' % version, ".SH NAME"]
    lines += ["smblock \\- storage of smblock for XCP-ng", ".SH SYNOPSIS"]
    lines += [".B smblock", ".RI [ OPTIONS ]", ".I COMMAND", "\\&..."]
    lines += [".SH DESCRIPTION", _text(parser.description), ".SH OPTIONS"]
    lines += _options(parser)
    lines.append(".SH COMMANDS")
    for path, command, help_text in commands(parser):
        lines.append(".SS smblock %s %s" % (_text(" ".join(path)), _text(_usage(command))))
        lines.append(_text(_sentence(help_text)))
        lines += _options(command)
        if command.epilog:
            lines += [".PP", _text(command.epilog)]
    lines += [".SH EXIT STATUS", _text(parser.epilog), ".SH FILES"]
    lines += [".TP", ".I /var/log/SMlog", "the log of the driver and of this command"]
    lines += [".SH SEE ALSO", ".BR xe (1)"]
    return "\n".join(lines) + "\n"


def completion(parser):
    """The completion of bash."""
    cases = ['    "") words="%s" ;;\n' % " ".join(_words(parser))]
    paths = []
    for path, command, _ in commands(parser, groups=True):
        joined = "/".join(path)
        paths.append(joined)
        cases.append('    %s/) words="%s" ;;\n' % (joined, " ".join(_words(command))))
    return _SHELL % ("".join(cases), " ".join(paths))


def commands(parser, groups=False):
    """Each command: its words, its parser and its help. `groups`: also those that only have commands."""
    for action in _subparsers(parser):
        helps = {choice.dest: choice.help for choice in action._choices_actions}
        for name, command in action.choices.items():
            inner = list(commands(command, groups))
            if groups or not inner:
                yield (name,), command, helps[name]
            for path, each, help_text in inner:
                yield (name, *path), each, help_text


def _subparsers(parser):
    return [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]


def _words(parser):
    words = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    for action in _subparsers(parser):
        words += list(action.choices)
    return words


def _usage(parser):
    words = []
    for action in _own(parser):
        if not action.option_strings:
            words.append("[%s]" % action.metavar)
            continue
        word = action.option_strings[-1] + (" %s" % action.metavar if action.nargs != 0 else "")
        words.append(word if action.required else "[%s]" % word)
    return " ".join(words)


def _options(parser):
    lines = []
    for action in _own(parser):
        names = ", ".join("\\fB%s\\fR" % _text(option) for option in action.option_strings)
        value = "\\fI%s\\fR" % _text(action.metavar) if action.metavar and action.nargs != 0 else ""
        lines += [".TP", " ".join(filter(None, [names, value])), _text(_sentence(action.help or ""))]
    return lines


def _own(parser):
    """The options and words of a parser, but for --help and its commands."""
    for action in parser._actions:
        if action.dest != "help" and not isinstance(action, argparse._SubParsersAction):
            yield action


def _sentence(text):
    return text[:1].upper() + text[1:] + "." if text else ""


def _text(text):
    """A text without what troff takes for its own."""
    text = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\\&" + text if text.startswith(".") else text
