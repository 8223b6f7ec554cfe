//! `proxy init`: sends a pod's traffic to its proxy.
//!
//! The rules are made from the flags by pure code (`plan`, `rules`), written down for nft or
//! iptables (`nft`, `iptables`) and given to whichever of them works here (`apply`).

pub mod apply;
pub mod args;
pub mod iptables;
pub mod nft;
pub mod plan;
pub mod rules;
pub mod validate;

use std::io::Write;
use std::process::ExitCode;

pub use self::args::Args;
use self::plan::{Family, Machine, Plan, PlanError};

/// The mark on the proxy's own sockets, which exempts them from capture. Where the proxy's user
/// id is not mapped (a user namespace of one user), nothing else does.
pub const PROXY_MARK: u32 = 1337;

/// Why capture is not set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The flags do not make sense.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The rules cannot be applied.
    #[error(transparent)]
    Apply(#[from] apply::ApplyError),
    /// The rules do not do what they should.
    #[error(transparent)]
    Validate(#[from] validate::ValidateError),
}

/// Does what the flags say; `say` gets a line for each thing done.
pub fn run(args: &Args, say: impl Fn(&str)) -> ExitCode {
    match set_up(args, &say) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("proxy init: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn set_up(args: &Args, say: &impl Fn(&str)) -> Result<(), InitError> {
    let machine = apply::observe();
    let plan = Plan::new(args, &machine)?;
    if args.dry_run {
        let script = apply::script(&plan, &machine, args.backend);
        // A reader that has gone away (`… | head`) is no error of ours.
        let _gone = std::io::stdout().write_all(script.as_bytes());
        return Ok(());
    }
    if args.cleanup {
        apply::cleanup(&plan, &machine)?;
        say("proxy init: no rules of ours are left");
        return Ok(());
    }
    if !args.skip_rule_apply {
        let done = apply::apply(&plan, &machine, args.backend())?;
        say(&format!("proxy init: {}", summary(&plan, &machine, done)));
    }
    if args.run_validation {
        validate::run(&plan, args.probe_timeout)?;
        say("proxy init: a captured connection arrived with its original destination");
    }
    Ok(())
}

/// What was done, in one line.
fn summary(plan: &Plan, machine: &Machine, done: apply::Backend) -> String {
    let ids =
        |name: &str, ids: &[u32]| ids.iter().map(|id| format!("{name} {id}")).collect::<Vec<_>>();
    let mut exempt = ids("uid", &plan.exempt.uids);
    exempt.extend(ids("gid", &plan.exempt.gids));
    exempt.push(format!("mark {PROXY_MARK:#x}"));
    let mut text = format!(
        "outbound goes to port {}, inbound to port {}, by {done}; exempt: {}",
        plan.outbound_port,
        plan.inbound_port,
        exempt.join(", ")
    );
    if !plan.unmapped.is_empty() {
        let ids = plan.unmapped.join(", ");
        text.push_str(&format!("; {ids} not mapped in this user namespace, so the mark decides"));
    }
    if !machine.families.contains(&Family::V6) {
        text.push_str("; this kernel has no IPv6");
    }
    text
}
