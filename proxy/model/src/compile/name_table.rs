//! The name table of NDS.

use std::collections::HashMap;
use std::sync::Arc;

use mesh_api::istio::nds::NameTable;

use super::notes::{Notes, Path};
use super::units;
use crate::snapshot::NameEntry;

/// The names of a table, in lower case and without a dot at the end.
pub fn names(
    value: &NameTable,
    path: &Path<'_>,
    notes: &mut Notes,
) -> HashMap<Arc<str>, Arc<NameEntry>> {
    let mut names = HashMap::new();
    for (host, info) in &value.table {
        let mut addresses = Vec::with_capacity(info.ips.len());
        for ip in &info.ips {
            match ip.parse() {
                Ok(ip) => addresses.push(ip),
                Err(_) => {
                    let field = format!("table[{host:?}].ips");
                    notes.warn(&path.field(&field), format_args!("{ip:?} is no address"));
                }
            }
        }
        let entry = NameEntry {
            addresses,
            registry: info.registry.as_str().into(),
            short_name: info.shortname.as_str().into(),
            namespace: info.namespace.as_str().into(),
            alt_hosts: units::texts(&info.alt_hosts),
        };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        names.insert(host.into(), Arc::new(entry));
    }
    names
}
