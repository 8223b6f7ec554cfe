//! Workspace member; see ARCHITECTURE.md.

fn main() {}
