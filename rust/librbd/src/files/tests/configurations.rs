//! Configurations, compared with the result of librados.

use std::path::Path;

use super::{compare, ENTITY};
use crate::files::{judge_conf, Dialect};

/// Common configurations, with the reason and the fix of those that librados refuses.
const CONFIGURATIONS: &[(&str, &str, &str)] = &[
    ("", "", ""),
    ("[global]\nmon_host = 192.0.2.1\n", "", ""),
    ("[global]\nmon host = 192.0.2.1\n", "", ""),
    ("[global]\r\nmon_host = 192.0.2.1\r\n", "", ""),
    ("[client]\nmon_host = 192.0.2.1\n", "", ""),
    (
        "# f\u{fc}r\n[global]\nmon_host = 192.0.2.1 # f\u{fc}r\n",
        "",
        "",
    ),
    (
        "[global]\nlog_file = \"/var/f\u{fc}r\"\nmon_host = 192.0.2.1\n",
        "",
        "",
    ),
    ("[global]\nmon_host = 192.0.2.1\\\n,192.0.2.2\n", "", ""),
    ("mon_host = 192.0.2.1\n", "", ""),
    ("[global]\nmon_host = 192.0.2.1\n# the end", "", ""),
    ("[{\"a\": 1}]\n", "", ""),
    (
        "[global]\nmon_host = 192.0.2.1",
        "line 2: the last line does not end",
        "echo >>ceph.conf",
    ),
    (
        "[global]\n [client]\nmon_host = a\n",
        "line 2: the section heading is indented",
        "sed -i",
    ),
    (
        " [global]\nmon_host = a\n",
        "line 1: the section heading is indented",
        "sed -i",
    ),
    (
        "[global]\ngarbage\nmon_host = a\n",
        "line 2: the line is neither",
        "remove the line",
    ),
    (
        "\u{feff}[global]\nmon_host = a\n",
        "byte 1 (0xef 0xbb 0xbf)",
        "sed -i '1s/^\\xef\\xbb\\xbf//' ceph.conf",
    ),
    (
        "[global]\nmon_host =\u{a0}a\n",
        "line 2: byte 11 (0xc2 0xa0) is the character U+00A0",
        "sed -i 's/\\xc2\\xa0/ /g' ceph.conf",
    ),
    (
        "[global]\nlog_file = /var/f\u{fc}r\n",
        "character \u{fc} (U+00FC)",
        "double quotes",
    ),
    ("[gl\u{fc}bal]\nmon_host = a\n", "line 1: byte 4", "replace"),
    (
        "mon_host = a\nlog_file = b\n",
        "line 2: there are settings before the first section",
        "sed -i '1i [global]'",
    ),
    (
        "\t\n[global]\nmon_host = a\n",
        "line 1: there are blanks before",
        "sed -i '1d'",
    ),
    (
        "[global\nmon_host = a\n",
        "line 1: the section heading has no ]",
        "correct line 1",
    ),
    (
        "[global] x\nmon_host = a\n",
        "line 1: the section heading",
        "correct line 1",
    ),
    (
        "[]\n",
        "line 1: the section heading is empty",
        "correct line 1",
    ),
    (
        "[global]\n= a\n",
        "line 2: there is no name before the =",
        "correct line 2",
    ),
    (
        "[global]\nmon_host = \"a;b\"\n",
        "line 2: the quotes do not match",
        "correct line 2",
    ),
    (
        "[global]\nmon_host = \"a\" b\n",
        "line 2: the quotes do not match",
        "correct line 2",
    ),
    (
        "{\n  \"mon_host\": 1\n}\n",
        "the file is JSON",
        "ceph config generate-minimal-conf",
    ),
];

#[test]
fn a_configuration_is_accepted_if_librados_accepts_it() {
    let texts: Vec<_> = CONFIGURATIONS
        .iter()
        .map(|(text, ..)| text.as_bytes().to_vec())
        .collect();
    compare("configurations", &texts);
    for (text, reason, fix) in CONFIGURATIONS {
        let verdict = judge_conf(
            text.as_bytes(),
            Path::new("ceph.conf"),
            ENTITY,
            Dialect::Grammar,
        );
        let Some(fault) = verdict.refusal else {
            assert_eq!(*reason, "", "{text:?}");
            continue;
        };
        assert_ne!(*reason, "", "{text:?}: {fault}");
        assert!(fault.to_string().contains(reason), "{text:?}: {fault}");
        assert!(fault.fix.contains(fix), "{text:?}: {}", fault.fix);
    }
}
