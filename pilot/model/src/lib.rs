//! Workspace member; see ARCHITECTURE.md.
