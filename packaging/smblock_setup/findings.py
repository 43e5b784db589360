"""What a check found, printed like the lines of `smblock-admin check`."""

import collections

OK, WARNING, FAILED = "ok", "warning", "FAILED"


class Finding(collections.namedtuple("Finding", "state topic text fix")):
    """One line; `fix` is the command that changes it, or None."""

    def __str__(self):
        line = "%-9s%-13s%s" % (self.state, self.topic, self.text)
        return "%s\n         -> %s" % (line, self.fix) if self.fix and self.state != OK else line


def ok(topic, text):
    return Finding(OK, topic, text, None)


def warning(topic, text, fix):
    return Finding(WARNING, topic, text, fix)


def failed(topic, text, fix):
    return Finding(FAILED, topic, text, fix)


def has_failed(findings):
    return any(finding.state == FAILED for finding in findings)
