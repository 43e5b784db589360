//! The XML of `sr_probe`. It contains names that other hosts and programs have chosen.

use serde::Serialize;

use crate::text::for_xml;

/// The SRs of a pool. Element names are SM's own (`util.SRtoXML`).
#[derive(Serialize)]
#[serde(rename = "SRlist")]
pub struct SrList {
    #[serde(rename = "SR")]
    pub srs: Vec<FoundSr>,
}

#[derive(Serialize)]
pub struct FoundSr {
    #[serde(rename = "UUID")]
    pub uuid: String,
    #[serde(rename = "Size", skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    pub name_label: String,
    pub name_description: String,
    /// What `device-config:namespace` has to be for this SR, if it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// The pools of a cluster that could hold an SR. All sizes in bytes.
#[derive(Serialize)]
#[serde(rename = "PoolList")]
pub struct PoolList {
    #[serde(rename = "Pool")]
    pub pools: Vec<FoundPool>,
}

#[derive(Serialize)]
pub struct FoundPool {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
    pub used: u64,
    /// Why the pool cannot hold an SR with this device-config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Returns a list as XML. Characters that XML does not allow are escaped, because xapi rejects the whole text.
pub fn write(list: &impl Serialize) -> Result<String, quick_xml::SeError> {
    let mut text = String::from("<?xml version=\"1.0\" ?>\n");
    let mut serializer = quick_xml::se::Serializer::new(&mut text);
    serializer.indent('\t', 1);
    list.serialize(serializer)?;
    Ok(for_xml(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_control_character_leaves_the_list_readable() {
        let list = SrList {
            srs: vec![FoundSr {
                uuid: "u".to_owned(),
                size: None,
                name_label: "a\u{1}\u{0}<b>&\u{FFFF}ü".to_owned(),
                name_description: String::new(),
                namespace: None,
            }],
        };
        let text = write(&list).map_err(|e| e.to_string()).unwrap_or_default();
        let shown = "<name_label>a\\u{1}\\u{0}&lt;b&gt;&amp;\\u{ffff}ü</name_label>";
        assert!(text.contains(shown), "{text}");
    }
}
