//! Rules in nft's language: one script, which the kernel takes as one transaction. Pure.

use std::fmt::Write;

use super::plan::{Family, Plan};
use super::rules::{Chain, Match, Rule, Table, Transport, Verdict, chains, rules};

const TABLES: [Table; 3] = [Table::Raw, Table::Mangle, Table::Nat];

fn table_name(table: Table) -> &'static str {
    match table {
        Table::Raw => "istio-proxy-raw",
        Table::Mangle => "istio-proxy-mangle",
        Table::Nat => "istio-proxy-nat",
    }
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// Replaces what an earlier run has set by the rules of the plan.
pub fn script(plan: &Plan, families: &[Family]) -> String {
    let mut text = removal(families);
    for family in families {
        let all = rules(plan, *family);
        for table in TABLES {
            let of_table: Vec<&Rule> = all.iter().filter(|rule| rule.table == table).collect();
            if !of_table.is_empty() {
                write_table(&mut text, *family, table, &of_table);
            }
        }
    }
    text
}

/// Removes what an earlier run has set; does nothing when there was none.
pub fn removal(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families {
        for table in TABLES {
            let name = format!("table {} {}", family_name(*family), table_name(table));
            // Adding first, because deleting what is not there would fail.
            text.push_str(&format!("add {name}\ndelete {name}\n"));
        }
    }
    text
}

fn write_table(text: &mut String, family: Family, table: Table, rules: &[&Rule]) {
    let used = |chain: Chain| {
        let jumps = |rule: &&Rule| match rule.verdict {
            Verdict::Jump(name) => Chain::Own(name) == chain,
            _ => false,
        };
        rules.iter().any(|rule| rule.chain == chain) || rules.iter().any(jumps)
    };
    let own = chains(table).iter().map(|name| Chain::Own(name));
    let mut line = |text_line: &str| {
        text.push_str(text_line);
        text.push('\n');
    };
    line(&format!("table {} {} {{", family_name(family), table_name(table)));
    for chain in own.chain([Chain::Prerouting, Chain::Output]).filter(|chain| used(*chain)) {
        match chain {
            Chain::Own(name) => line(&format!("\tchain {name} {{")),
            Chain::Prerouting => line("\tchain prerouting {"),
            Chain::Output => line("\tchain output {"),
        }
        if let Some(hook) = hook(table, chain) {
            line(&format!("\t\t{hook}; policy accept;"));
        }
        for rule in rules.iter().filter(|rule| rule.chain == chain) {
            line(&format!("\t\t{}", statement(rule, family)));
        }
        line("\t}");
    }
    line("}");
}

fn hook(table: Table, chain: Chain) -> Option<&'static str> {
    Some(match (table, chain) {
        (_, Chain::Own(_)) => return None,
        (Table::Nat, Chain::Prerouting) => "type nat hook prerouting priority dstnat",
        (Table::Nat, Chain::Output) => "type nat hook output priority -100",
        (Table::Mangle, Chain::Prerouting) => "type filter hook prerouting priority mangle",
        // Marks given here choose the route.
        (Table::Mangle, Chain::Output) => "type route hook output priority mangle",
        (Table::Raw, Chain::Prerouting) => "type filter hook prerouting priority raw",
        (Table::Raw, Chain::Output) => "type filter hook output priority raw",
    })
}

fn statement(rule: &Rule, family: Family) -> String {
    let mut words = String::new();
    let mut transport = "tcp";
    let address = family_name(family);
    let has_port =
        |found: &Match| matches!(found, Match::DestinationPort(..) | Match::SourcePort(_));
    for found in &rule.matches {
        let not = |negated: bool| if negated { "!= " } else { "" };
        let _infallible = match found {
            Match::Transport(which) => {
                transport = match which {
                    Transport::Tcp => "tcp",
                    Transport::Udp => "udp",
                };
                if rule.matches.iter().any(has_port) {
                    Ok(())
                } else {
                    write!(words, "meta l4proto {transport} ")
                }
            }
            Match::DestinationPort(port, negated) => {
                write!(words, "{transport} dport {}{port} ", not(*negated))
            }
            Match::SourcePort(port) => write!(words, "{transport} sport {port} "),
            Match::Destination(block, negated) => {
                write!(words, "{address} daddr {}{block} ", not(*negated))
            }
            Match::Source(block) => write!(words, "{address} saddr {block} "),
            Match::In(name) => write!(words, "iifname \"{name}\" "),
            Match::Out(name) => write!(words, "oifname \"{name}\" "),
            Match::Uid(uid, negated) => write!(words, "meta skuid {}{uid} ", not(*negated)),
            Match::Gid(gid, negated) => write!(words, "meta skgid {}{gid} ", not(*negated)),
            Match::Mark(mark, negated) => {
                write!(words, "meta mark {}{mark:#x} ", not(*negated))
            }
            Match::ConnectionMark(mark) => write!(words, "ct mark {mark:#x} "),
            Match::Established => write!(words, "ct state related,established "),
            Match::Invalid => write!(words, "ct state invalid "),
        };
    }
    match rule.verdict {
        Verdict::Return => words + "return",
        Verdict::Accept => words + "accept",
        Verdict::Drop => words + "drop",
        Verdict::Jump(chain) => words + "jump " + chain,
        Verdict::RedirectTo(port) => format!("{words}redirect to :{port}"),
        Verdict::TproxyTo { port, mark } => {
            format!("{words}tproxy to :{port} meta mark set {mark:#x} accept")
        }
        Verdict::SetMark(mark) => format!("{words}meta mark set {mark:#x}"),
        Verdict::SaveMark => words + "ct mark set meta mark",
        Verdict::RestoreMark => words + "meta mark set ct mark",
        Verdict::Zone(zone) => format!("{words}ct zone set {zone}"),
    }
}
