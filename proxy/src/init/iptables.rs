//! Rules in iptables' language: input of `iptables-restore --noflush`, one transaction for each
//! family. Pure.

use super::plan::{Family, Plan};
use super::rules::{Chain, Match, Rule, Table, Transport, Verdict, chains, rules};

const TABLES: [Table; 3] = [Table::Raw, Table::Mangle, Table::Nat];

/// The table as iptables calls it.
pub fn table_name(table: Table) -> &'static str {
    match table {
        Table::Raw => "raw",
        Table::Mangle => "mangle",
        Table::Nat => "nat",
    }
}

/// The rules of the plan. Rules of the kernel's own chains for which `is_there` says so are left
/// out: chains of ours are emptied by being declared, the kernel's are not.
pub fn script(plan: &Plan, family: Family, is_there: impl Fn(Table, &[String]) -> bool) -> String {
    let all = rules(plan, family);
    let mut text = String::new();
    for table in TABLES {
        let of_table: Vec<&Rule> = all.iter().filter(|rule| rule.table == table).collect();
        if of_table.is_empty() {
            continue;
        }
        text.push_str(&format!("*{}\n", table_name(table)));
        for chain in chains(table) {
            text.push_str(&format!(":{chain} - [0:0]\n"));
        }
        for rule in of_table {
            let words = words(rule, family);
            if matches!(rule.chain, Chain::Own(_)) || !is_there(table, &words) {
                text.push_str(&format!("-A {}\n", words.join(" ")));
            }
        }
        text.push_str("COMMIT\n");
    }
    text
}

/// The rules of the kernel's own chains, each with its table: what is checked for and deleted one
/// by one.
pub fn entries(plan: &Plan, family: Family) -> Vec<(Table, Vec<String>)> {
    let all = rules(plan, family);
    let kernels = all.iter().filter(|rule| !matches!(rule.chain, Chain::Own(_)));
    kernels.map(|rule| (rule.table, words(rule, family))).collect()
}

/// A rule as the arguments that follow `-A`, `-C` or `-D`.
fn words(rule: &Rule, family: Family) -> Vec<String> {
    let chain = match rule.chain {
        Chain::Prerouting => "PREROUTING",
        Chain::Output => "OUTPUT",
        Chain::Own(name) => name,
    };
    let mut words = vec![chain.to_owned()];
    for found in &rule.matches {
        matching(&mut words, found);
    }
    let target = match rule.verdict {
        Verdict::Return => "-j RETURN".to_owned(),
        Verdict::Accept => "-j ACCEPT".to_owned(),
        Verdict::Drop => "-j DROP".to_owned(),
        Verdict::Jump(chain) => format!("-j {chain}"),
        Verdict::RedirectTo(port) => format!("-j REDIRECT --to-ports {port}"),
        Verdict::TproxyTo { port, mark } => {
            let any = if family == Family::V4 { "0.0.0.0" } else { "::" };
            format!("-j TPROXY --on-port {port} --on-ip {any} --tproxy-mark {mark:#x}/0xffffffff")
        }
        Verdict::SetMark(mark) => format!("-j MARK --set-xmark {mark:#x}/0xffffffff"),
        Verdict::SaveMark => "-j CONNMARK --save-mark".to_owned(),
        Verdict::RestoreMark => "-j CONNMARK --restore-mark".to_owned(),
        Verdict::Zone(zone) => format!("-j CT --zone {zone}"),
    };
    words.extend(target.split(' ').map(str::to_owned));
    words
}

fn matching(words: &mut Vec<String>, found: &Match) {
    let mut add = |text: &[&str]| words.extend(text.iter().map(|word| (*word).to_owned()));
    let not = |add: &mut dyn FnMut(&[&str]), negated: bool| {
        if negated {
            add(&["!"]);
        }
    };
    match found {
        Match::Transport(Transport::Tcp) => add(&["-p", "tcp"]),
        Match::Transport(Transport::Udp) => add(&["-p", "udp"]),
        Match::DestinationPort(port, negated) => {
            not(&mut add, *negated);
            add(&["--dport", &port.to_string()]);
        }
        Match::SourcePort(port) => add(&["--sport", &port.to_string()]),
        Match::Destination(block, negated) => {
            not(&mut add, *negated);
            add(&["-d", &block.to_string()]);
        }
        Match::Source(block) => add(&["-s", &block.to_string()]),
        Match::In(name) => add(&["-i", name]),
        Match::Out(name) => add(&["-o", name]),
        Match::Uid(uid, negated) => {
            add(&["-m", "owner"]);
            not(&mut add, *negated);
            add(&["--uid-owner", &uid.to_string()]);
        }
        Match::Gid(gid, negated) => {
            add(&["-m", "owner"]);
            not(&mut add, *negated);
            add(&["--gid-owner", &gid.to_string()]);
        }
        Match::Mark(mark, negated) => {
            add(&["-m", "mark"]);
            not(&mut add, *negated);
            add(&["--mark", &format!("{mark:#x}")]);
        }
        Match::ConnectionMark(mark) => add(&["-m", "connmark", "--mark", &format!("{mark:#x}")]),
        Match::Established => add(&["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"]),
        Match::Invalid => add(&["-m", "conntrack", "--ctstate", "INVALID"]),
    }
}
