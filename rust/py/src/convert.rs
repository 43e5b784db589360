//! Records of XenAPI in, attributes of SM's `VDI` objects out.

use std::collections::{BTreeMap, HashMap};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use store::xapi::{lasting_sm_config, ScannedVdi, XapiFields, XapiVdi};
use uuid::Uuid;

/// A UUID from Python; a `ValueError` names what it is.
pub fn uuid(what: &str, text: &str) -> PyResult<Uuid> {
    text.parse()
        .map_err(|_| PyValueError::new_err(format!("{what} {text:?} is not a UUID")))
}

/// VDI records as `VDI.get_all_records_where` gives them, by reference.
pub fn xapi_vdis(records: HashMap<String, &PyDict>) -> PyResult<Vec<XapiVdi>> {
    let mut uuids = HashMap::with_capacity(records.len());
    for (reference, record) in &records {
        let text: String = field(record, "uuid")?;
        uuids.insert(reference.as_str(), uuid("VDI", &text)?);
    }
    let vdis = records.iter().map(|(reference, record)| {
        Ok(XapiVdi {
            uuid: uuids[reference.as_str()],
            size: size(record)?,
            fields: fields(record, &uuids)?,
        })
    });
    vdis.collect()
}

fn fields(record: &PyDict, uuids: &HashMap<&str, Uuid>) -> PyResult<XapiFields> {
    let snapshot_of: String = field(record, "snapshot_of")?;
    let sm_config: BTreeMap<String, String> = field(record, "sm_config")?;
    Ok(XapiFields {
        name_label: field(record, "name_label")?,
        name_description: field(record, "name_description")?,
        ty: field(record, "type")?,
        read_only: field(record, "read_only")?,
        sharable: field(record, "sharable")?,
        managed: field(record, "managed")?,
        metadata_of_pool: field(record, "metadata_of_pool")?,
        is_a_snapshot: field(record, "is_a_snapshot")?,
        snapshot_of: uuids.get(snapshot_of.as_str()).copied(),
        // An xmlrpc.client.DateTime, whose str() is the time as XML-RPC writes it.
        snapshot_time: item(record, "snapshot_time")?.str()?.to_string(),
        sm_config: lasting_sm_config(sm_config),
    })
}

/// What SM has put on the `VDI` object of a disk that is about to be created. Its `snapshot_of` is
/// a reference, which the next `vdi_update` brings as a UUID.
pub fn fields_of(vdi: &PyAny) -> PyResult<XapiFields> {
    fn attribute<'py, T: FromPyObject<'py>>(vdi: &'py PyAny, name: &str) -> PyResult<T> {
        vdi.getattr(name)?.extract()
    }
    Ok(XapiFields {
        name_label: attribute(vdi, "label")?,
        name_description: attribute(vdi, "description")?,
        ty: attribute(vdi, "ty")?,
        read_only: attribute(vdi, "read_only")?,
        sharable: attribute(vdi, "shareable")?,
        managed: attribute(vdi, "managed")?,
        metadata_of_pool: attribute(vdi, "metadata_of_pool")?,
        is_a_snapshot: attribute(vdi, "is_a_snapshot")?,
        snapshot_of: None,
        snapshot_time: attribute(vdi, "snapshot_time")?,
        sm_config: BTreeMap::new(),
    })
}

/// XML-RPC carries 64-bit numbers as strings.
fn size(record: &PyDict) -> PyResult<u64> {
    let text: String = field(record, "virtual_size")?;
    text.parse()
        .map_err(|_| PyValueError::new_err(format!("virtual_size {text:?} is not a size")))
}

fn item<'py>(record: &'py PyDict, name: &str) -> PyResult<&'py PyAny> {
    record
        .get_item(name)
        .ok_or_else(|| PyValueError::new_err(format!("a VDI record of XAPI lacks {name}")))
}

fn field<'py, T: FromPyObject<'py>>(record: &'py PyDict, name: &str) -> PyResult<T> {
    item(record, name)?.extract()
}

/// What SM's `VDI` objects call these things, as attribute names and values.
pub fn attributes(py: Python<'_>, vdi: &ScannedVdi) -> PyResult<PyObject> {
    let attributes = PyDict::new(py);
    let uuid = vdi.uuid.to_string();
    attributes.set_item("uuid", &uuid)?;
    attributes.set_item("location", &uuid)?;
    attributes.set_item("size", vdi.size)?;
    attributes.set_item("utilisation", 0)?;
    attributes.set_item("label", &vdi.xapi.name_label)?;
    attributes.set_item("description", &vdi.xapi.name_description)?;
    attributes.set_item("ty", &vdi.xapi.ty)?;
    attributes.set_item("read_only", vdi.xapi.read_only)?;
    attributes.set_item("shareable", vdi.xapi.sharable)?;
    attributes.set_item("managed", vdi.xapi.managed)?;
    attributes.set_item("metadata_of_pool", &vdi.xapi.metadata_of_pool)?;
    attributes.set_item("is_a_snapshot", vdi.xapi.is_a_snapshot)?;
    attributes.set_item("snapshot_time", &vdi.xapi.snapshot_time)?;
    if !vdi.known_to_xapi {
        // SM takes the others' from XAPI's database, where running hosts keep keys of their own.
        attributes.set_item("sm_config", vdi.xapi.sm_config.clone())?;
    }
    Ok(attributes.into())
}
