//! Gives rules to the kernel, by the first program that can.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::plan::{Family, Machine, Mode, Plan, Which};
use super::rules::{Table, chains};
use super::{iptables, nft};

/// Where programs are looked for; the search path of a container may lack them.
const DIRECTORIES: [&str; 6] =
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/run/current-system/sw/bin"];

/// Most bytes read of a file of the machine.
const MAX_FILE: u64 = 64 * 1024;

/// Most servers of `/etc/resolv.conf`.
const MAX_SERVERS: usize = 16;

const TABLES: [Table; 3] = [Table::Raw, Table::Mangle, Table::Nat];

/// A program that sets rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// nft.
    Nft,
    /// iptables on top of nf_tables.
    IptablesNft,
    /// iptables on top of x_tables.
    IptablesLegacy,
    /// iptables, whichever it is.
    Iptables,
}

/// All of them, the preferred one first.
const ALL: [Backend; 4] =
    [Backend::Nft, Backend::IptablesNft, Backend::IptablesLegacy, Backend::Iptables];

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "nft",
            Self::IptablesNft => "iptables-nft",
            Self::IptablesLegacy => "iptables-legacy",
            Self::Iptables => "iptables",
        })
    }
}

/// Why rules are not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// No program could.
    #[error(
        "no program could set the rules: {}; the container needs the capabilities NET_ADMIN and \
         NET_RAW, and nft or iptables in its image", .0.join("; ")
    )]
    NoneWorks(Vec<String>),
    /// Rules of an earlier run stay.
    #[error("rules of an earlier run cannot be removed: {0}")]
    Remains(String),
    /// The routes of TPROXY cannot be set.
    #[error("the route of captured connections cannot be set: {0}")]
    Route(String),
}

/// What this machine is like.
pub fn observe() -> Machine {
    let mut families = vec![Family::V4];
    if Path::new("/proc/net/if_inet6").exists() {
        families.push(Family::V6);
    }
    let servers = read("/etc/resolv.conf");
    let servers = servers.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let server = (words.next() == Some("nameserver")).then(|| words.next()).flatten()?;
        server.parse::<IpAddr>().ok()
    });
    Machine {
        families,
        uids: id_map(&read("/proc/self/uid_map")),
        gids: id_map(&read("/proc/self/gid_map")),
        nameservers: servers.take(MAX_SERVERS).collect(),
    }
}

/// A file of the machine; empty when it cannot be read, as where `/proc` is not mounted.
fn read(path: &str) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(path);
    match file.and_then(|file| file.take(MAX_FILE).read_to_string(&mut text)) {
        Ok(_) => text,
        Err(_) => String::new(),
    }
}

/// First and last of each range of ids inside this user namespace.
fn id_map(text: &str) -> Vec<(u32, u32)> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let first: u32 = words.next()?.parse().ok()?;
            let count: u32 = words.nth(1)?.parse().ok()?;
            Some((first, first.saturating_add(count.checked_sub(1)?)))
        })
        .collect()
}

/// The rules as they would be given to the program: nft's unless another is asked for.
pub fn script(plan: &Plan, machine: &Machine, backend: Option<Backend>) -> String {
    match backend {
        None | Some(Backend::Nft) => nft::script(plan, &machine.families),
        Some(_) => {
            let of = |family: &Family| {
                let title = if *family == Family::V4 { "IPv4" } else { "IPv6" };
                format!("# {title}\n{}", iptables::script(plan, *family, |_, _| false))
            };
            machine.families.iter().map(of).collect()
        }
    }
}

/// Applies the rules by the given program, or else by the first that works.
pub fn apply(plan: &Plan, machine: &Machine, only: Option<Backend>) -> Result<Backend, ApplyError> {
    let mut failures = Vec::new();
    for backend in ALL.into_iter().filter(|backend| only.is_none_or(|only| only == *backend)) {
        let done = match backend {
            Backend::Nft => give("nft", &["-f", "-"], &nft::script(plan, &machine.families)),
            _ => apply_iptables(plan, machine, backend),
        };
        match done {
            Ok(()) => {
                routes(plan, machine)?;
                return Ok(backend);
            }
            Err(reason) => failures.push(format!("{backend}: {reason}")),
        }
    }
    Err(ApplyError::NoneWorks(failures))
}

fn apply_iptables(plan: &Plan, machine: &Machine, backend: Backend) -> Result<(), String> {
    for family in &machine.families {
        let program = program(backend, *family, "");
        let there = |table: Table, rule: &[String]| change(&program, table, "-C", rule).is_ok();
        let script = iptables::script(plan, *family, there);
        give(&self::program(backend, *family, "-restore"), &["--noflush"], &script)?;
        // What a run with other flags has left in the kernel's chains.
        let current = iptables::entries(plan, *family);
        for (table, rule) in entries_of_any_plan(plan, *family) {
            if !current.contains(&(table, rule.clone())) {
                remove(&program, table, &rule);
            }
        }
        for table in TABLES {
            if !script.contains(&format!("*{}\n", iptables::table_name(table))) {
                drop_chains(&program, table);
            }
        }
    }
    Ok(())
}

fn program(backend: Backend, family: Family, suffix: &str) -> String {
    let base = if family == Family::V4 { "iptables" } else { "ip6tables" };
    let flavour = match backend {
        Backend::IptablesNft => "-nft",
        Backend::IptablesLegacy => "-legacy",
        Backend::Nft | Backend::Iptables => "",
    };
    format!("{base}{flavour}{suffix}")
}

/// What runs with any flags put into the kernel's own chains.
fn entries_of_any_plan(plan: &Plan, family: Family) -> Vec<(Table, Vec<String>)> {
    let base =
        Plan { dns: Some(Which::All), drop_invalid: true, inbound: Which::All, ..plan.clone() };
    let redirect = Plan { mode: Some(Mode::Redirect), ..base.clone() };
    let tproxy = Plan { mode: Some(Mode::Tproxy), ..base };
    let mut all = iptables::entries(&redirect, family);
    for entry in iptables::entries(&tproxy, family) {
        if !all.contains(&entry) {
            all.push(entry);
        }
    }
    all
}

/// Checks for (`-C`) or deletes (`-D`) one rule.
fn change(program: &str, table: Table, action: &str, rule: &[String]) -> Result<(), String> {
    let mut arguments = vec!["-w", "-t", iptables::table_name(table), action];
    arguments.extend(rule.iter().map(String::as_str));
    give(program, &arguments, "")
}

/// Deletes a rule as often as it is there; bounded, should a program always say yes.
fn remove(program: &str, table: Table, rule: &[String]) {
    for _ in 0..16 {
        if change(program, table, "-D", rule).is_err() {
            return;
        }
    }
}

/// Empties and deletes the chains of ours in a table.
fn drop_chains(program: &str, table: Table) {
    for action in ["-F", "-X"] {
        for chain in chains(table) {
            // A chain that is not there is as good as one that is gone.
            let _absent = change(program, table, action, &[(*chain).to_owned()]);
        }
    }
}

/// Removes all rules of earlier runs, whichever program has set them.
pub fn cleanup(plan: &Plan, machine: &Machine) -> Result<(), ApplyError> {
    let with_nft = give("nft", &["-f", "-"], &nft::removal(&machine.families));
    let mut remaining = Vec::new();
    for backend in [Backend::IptablesNft, Backend::IptablesLegacy, Backend::Iptables] {
        for family in &machine.families {
            let program = program(backend, *family, "");
            if find(&program).is_none() {
                continue;
            }
            for (table, rule) in entries_of_any_plan(plan, *family) {
                remove(&program, table, &rule);
            }
            for table in TABLES {
                drop_chains(&program, table);
                let left = chains(table)
                    .iter()
                    .any(|chain| change(&program, table, "-S", &[(*chain).to_owned()]).is_ok());
                if left {
                    remaining.push(format!("{program} -t {}", iptables::table_name(table)));
                }
            }
        }
    }
    remove_routes(plan, machine);
    match (with_nft, remaining.is_empty()) {
        (_, false) => Err(ApplyError::Remains(remaining.join(", "))),
        (Err(reason), true) if find("nft").is_some() => Err(ApplyError::Remains(reason)),
        _ => Ok(()),
    }
}

/// Under TPROXY, packets with the mark are delivered here whatever their destination.
fn routes(plan: &Plan, machine: &Machine) -> Result<(), ApplyError> {
    remove_routes(plan, machine);
    if plan.mode != Some(Mode::Tproxy) {
        return Ok(());
    }
    for family in &machine.families {
        for command in route_commands(plan, *family, "add") {
            ip(&command).map_err(ApplyError::Route)?;
        }
    }
    Ok(())
}

fn remove_routes(plan: &Plan, machine: &Machine) {
    for family in &machine.families {
        for command in route_commands(plan, *family, "del") {
            // What is not there need not go.
            let _absent = ip(&command);
        }
    }
}

fn route_commands(plan: &Plan, family: Family, action: &str) -> [String; 2] {
    let (flag, all) = if family == Family::V4 { ("-4", "0.0.0.0/0") } else { ("-6", "::/0") };
    let (mark, table) = (plan.tproxy_mark, plan.tproxy_table);
    [
        format!("{flag} rule {action} fwmark {mark} lookup {table}"),
        format!("{flag} route {action} local {all} dev lo table {table}"),
    ]
}

fn ip(command: &str) -> Result<(), String> {
    give("ip", &command.split(' ').collect::<Vec<_>>(), "")
}

fn find(program: &str) -> Option<PathBuf> {
    let mut places = DIRECTORIES.iter().map(|directory| Path::new(directory).join(program));
    places.find(|path| path.is_file())
}

/// Runs a program with `input`; an error is what it said.
fn give(program: &str, arguments: &[&str], input: &str) -> Result<(), String> {
    let path = find(program).ok_or_else(|| format!("{program} is not installed"))?;
    let cannot = |error: io::Error| format!("cannot run {}: {error}", path.display());
    let mut child = Command::new(&path)
        .args(arguments)
        .env_clear()
        // Nobody else sets rules in a pod's namespace, and the root may be read-only.
        .env("XTABLES_LOCKFILE", "/dev/null")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(cannot)?;
    if output.status.success() {
        return written.map_err(cannot);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(match said.as_slice() {
        [] => format!("{program} ended with {}", output.status),
        [first, ..] => (*first).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_maps_are_ranges() {
        assert_eq!(id_map("         0          0 4294967295\n"), [(0, 4_294_967_294)]);
        assert_eq!(id_map("0 1000 1\n1 100000 65536\n"), [(0, 0), (1, 65_536)]);
        assert_eq!(id_map("garbage\n1 2\n0 0 0\n"), []);
    }
}
