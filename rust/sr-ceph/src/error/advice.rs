//! What an administrator can do about an error, and what happened to its rollback.

use uuid::Uuid;

use crate::catalogue::keys::SR_KEY;
use crate::hold::Hold;
use crate::pool::spec::as_option;
use crate::record::Unreadable;

/// What an administrator can do about a claim that counts.
pub(super) fn advise_on_hold(hold: &Hold, host: &str) -> String {
    match hold {
        Hold::InUse => "The host runs and uses the disk: unplug it there".to_owned(),
        Hold::Silent => format!(
            "The host cannot be reached, and it was not declared dead, so it may be writing. If it is down for good, or its power is off, run 'xe host-declare-dead uuid={host}', then try again"
        ),
        Hold::OtherPool(pool) => {
            let pool = pool.as_deref().unwrap_or("unknown");
            format!(
                "That host is not a member of this pool (the claim is of XAPI pool {pool}), so the SR may be in use there. If all hosts of that pool are off, run 'smblock fence --host {host}' with --sr and the SR's device-config, then try again"
            )
        }
        Hold::Watched(address) => format!(
            "Its kernel client {address} watches the image, so it may be writing: unplug the disk there. If the host is off, the watch ends within 30 s: try again then, or cut the host off with 'smblock fence --host {host}' and the SR's device-config"
        ),
    }
}

/// What an administrator can do about a value of the catalogue that cannot be read.
pub(super) fn advise_on_damage(sr: &Uuid, pool: &str, key: &str, source: &Unreadable) -> String {
    let pool = as_option(pool);
    match source {
        Unreadable::Newer(_) if key == SR_KEY => {
            "; this host cannot use the SR until then. Disks that are in use can be unplugged"
                .to_owned()
        }
        Unreadable::Newer(_) => "; no other VDI is affected".to_owned(),
        Unreadable::Malformed(_) if key == SR_KEY => format!(
            ", and no VDI of the SR can be used until it is written back: 'rados -p {pool} setomapval smblock.sr.{sr} {key} '{{\"version\":1,\"nonce\":\"{sr}\",\"uuid\":\"{sr}\",\"name_label\":\"\",\"name_description\":\"\",\"created\":0}}''"
        ),
        Unreadable::Malformed(_) => format!(
            "; no other VDI is affected. To write a copy back, run 'rados -p {pool} setomapval smblock.sr.{sr} {key} VALUE'. To remove the entry and keep its image, run 'rados -p {pool} rmomapkey smblock.sr.{sr} {key}'"
        ),
    }
}

/// What happened to the rollback of the error with the id `first`: the id and the text of its own error, or
/// `None` if it was not tried.
pub(super) fn describe_rollback(first: &str, second: Option<(&str, String)>) -> String {
    match second {
        Some((id, text)) => format!("The rollback of {first} also failed ({id}: {text})"),
        None => {
            format!("The outcome of {first} is unknown, so the operation was not rolled back yet")
        }
    }
}
