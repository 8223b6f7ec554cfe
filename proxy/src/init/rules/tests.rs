//! Golden rule sets for flags, in both languages.

use clap::Parser;

use crate::init::args::Args;
use crate::init::plan::{Family, Machine, Plan};
use crate::init::{iptables, nft};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn machine() -> Machine {
    Machine {
        families: vec![Family::V4, Family::V6],
        uids: vec![(0, 4_294_967_294)],
        gids: vec![(0, 4_294_967_294)],
        nameservers: vec!["10.96.0.10".parse().unwrap(), "fd00::a".parse().unwrap()],
    }
}

fn plan(line: &[&str], machine: &Machine) -> Result<Plan, String> {
    let line = ["init"].iter().chain(line);
    let args = Line::try_parse_from(line).map_err(|error| error.to_string())?.args;
    Plan::new(&args, machine).map_err(|error| error.to_string())
}

fn both(line: &[&str], machine: &Machine) -> String {
    let plan = plan(line, machine).unwrap();
    let mut text = format!("# {}\n\n## nft\n", line.join(" "));
    text.push_str(&nft::script(&plan, &machine.families));
    for family in &machine.families {
        text.push_str(&format!("\n## iptables {family:?}\n"));
        text.push_str(&iptables::script(&plan, *family, |_, _| false));
    }
    text
}

macro_rules! golden {
    ($($name:ident: $($word:literal)*;)*) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!(stringify!($name), both(&[$($word),*], &machine()));
        }
    )*};
}

golden! {
    injected: "-p" "15001" "-z" "15006" "-u" "1337" "-m" "REDIRECT" "-i" "*" "-x" "" "-b" "*" "-d" "15090,15021,15020" "--log_output_level=default:info";
    lists: "-i" "10.0.0.0/8,fd00::/8" "-x" "10.1.2.3/16" "-b" "80,8080" "-q" "443" "-o" "3306,5432" "-c" "eth1" "-k" "net1";
    nothing_inbound: "-b" "";
    no_interception: "-m" "NONE";
    several_users: "-u" "1337,0" "-g" "7";
    dns: "--redirect-dns";
    all_dns: "--redirect-dns" "--capture-all-dns";
    tproxy: "-m" "TPROXY" "-d" "15020";
    drop_invalid: "--drop-invalid";
    other_ports: "-p" "1" "-z" "2" "-e" "0";
}

#[test]
fn an_unmapped_user_leaves_the_mark() {
    let machine =
        Machine { families: vec![Family::V4], uids: vec![(0, 0)], gids: vec![(0, 0)], ..machine() };
    let plan = plan(&[], &machine).unwrap();
    assert_eq!(plan.unmapped, ["uid 1337", "gid 1337"]);
    let text = both(&[], &machine);
    assert!(!text.contains("skuid") && !text.contains("-owner"), "{text}");
    insta::assert_snapshot!("unmapped_user", text);
}

#[test]
fn flags_that_make_no_sense_are_named() {
    let refused = |line: &[&str]| plan(line, &machine()).unwrap_err();
    let cases: [(&[&str], &str); 9] = [
        (&["-m", "redirect"], "flag --istio-inbound-interception-mode has the value \"redirect\""),
        (&["-b", "80,x"], "flag --istio-inbound-ports has the value \"80,x\": use ports"),
        (&["-d", "*"], "flag --istio-local-exclude-ports"),
        (&["-i", "10.0.0.0"], "flag --istio-service-cidr has the value \"10.0.0.0\""),
        (&["-x", "*"], "flag --istio-service-exclude-cidr"),
        (&["-c", "a\"; flush ruleset"], "flag --istio-exclude-interfaces"),
        (&["-u", "istio-proxy"], "flag --proxy-uid"),
        (&["-t", "1337"], "which is that of the proxy's sockets"),
        (&["-p", "0"], "flag --envoy-port has the value \"0\""),
    ];
    for (line, expected) in cases {
        let text = refused(line);
        assert!(text.contains(expected), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_refused_or_safe(text in "[ -~]{0,24}") {
        // What gets into a script is made of few characters, whatever the flags say.
        for flag in ["-b", "-d", "-i", "-x", "-q", "-o", "-c", "-k", "-u", "-g"] {
            let argument = format!("{flag}={text}");
            if let Ok(plan) = plan(&[&argument], &machine()) {
                let script = nft::script(&plan, &[Family::V4]);
                let known = |c: char| c.is_ascii_alphanumeric() || "\n\t \"{}:;,.-_/!=".contains(c);
                proptest::prop_assert!(script.chars().all(known), "{}", script);
            }
        }
    }
}
