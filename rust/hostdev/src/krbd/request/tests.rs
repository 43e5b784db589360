#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::super::sim::request;
use super::*;

#[test]
fn the_map_command_has_all_options_but_no_key() {
    let mut request = request();
    let command = request.command(request.noshare).unwrap();
    assert_eq!(
        command,
        "10.0.0.1:6789,10.0.0.2:6789 \
         name=xcp,key=client.xcp@7f36e090-d7f8-4f09-8bb3-79ff299de9f4,mount_timeout=25 \
         pool disk -"
    );
    request.image.snap_id = Some(4);
    request.snap_name = Some("s1".to_owned());
    request.image.namespace = "ns".to_owned();
    request.noshare = true;
    let command = request.command(request.noshare).unwrap();
    assert!(
        command.ends_with(",ro,noshare,_pool_ns=ns pool disk s1"),
        "{command}"
    );
    assert!(!command.contains(request.key.expose_secret()));
}

#[test]
fn the_map_command_has_ms_mode_for_protocol_v2_only() {
    let mut request = request();
    let legacy = request.command(false).unwrap();
    assert!(!legacy.contains("ms_mode"), "{legacy}");
    request.monitors = vec!["[fd00::1]:3300".to_owned(), "10.0.0.2:3300".to_owned()];
    for mode in MsMode::ALL.into_iter().filter(|mode| mode.speaks_v2()) {
        request.ms_mode = mode;
        let command = request.command(false).unwrap();
        let option = format!(",mount_timeout=25,ms_mode={} pool ", mode.name());
        assert!(
            command.starts_with("[fd00::1]:3300,10.0.0.2:3300 "),
            "{command}"
        );
        assert!(command.contains(&option), "{command}");
    }
}

#[test]
fn the_map_command_has_at_most_31_monitors() {
    let mut request = request();
    request.monitors = (0..40).map(|n| format!("10.0.0.{n}:6789")).collect();
    let command = request.command(false).unwrap();
    let (monitors, _) = command.split_once(' ').unwrap();
    assert_eq!(monitors.split(',').count(), 31);
}

#[test]
fn the_debug_text_of_a_request_hides_its_key() {
    let request = request();
    assert!(!format!("{request:?}").contains(request.key.expose_secret()));
}

#[test]
fn the_map_command_does_not_depend_on_the_deadline() {
    let mut patient = request();
    patient.deadline *= 100;
    assert_eq!(
        patient.command(false).unwrap(),
        request().command(false).unwrap()
    );
}

proptest! {
    #[test]
    fn the_kernel_reads_each_accepted_name_unchanged(
        pool in "\\PC{0,8}|[a-z]{1,4}[ ,=\n\t][a-z]{0,4}",
        image in "\\PC{0,8}|[a-z]{1,4}[ ,=\n\t][a-z]{0,4}",
        user in "\\PC{0,8}|[a-z]{1,4}[ ,=\n\t][a-z]{0,4}",
        namespace in "\\PC{0,8}|[a-z]{1,4}[ ,=\n\t][a-z]{0,4}",
    ) {
        let mut request = request();
        request.pool_name = pool.clone();
        request.image_name = image.clone();
        request.user = user.clone();
        request.image.namespace = namespace.clone();
        if let Ok(command) = request.command(request.noshare) {
            // The kernel splits at white space, then at commas.
            let words: Vec<&str> = command.split_whitespace().collect();
            prop_assert_eq!(&words[2..], &[&pool, &image, "-"]);
            let options: Vec<&str> = words[1].split(',').collect();
            prop_assert_eq!(options.len(), if namespace.is_empty() { 3 } else { 4 });
            prop_assert_eq!(options[0].strip_prefix("name="), Some(user.as_str()));
        }
    }
}
