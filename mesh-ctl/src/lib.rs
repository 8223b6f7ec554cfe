//! `meshctl`: install, inspect and run the mesh. A library, so that tests use its parts; the program
//! is `main.rs`.

pub mod analyze;
pub mod apply;
pub mod chart;
pub mod cli;
pub mod cmd;
pub mod control_plane;
pub mod dashboard;
pub mod distribution;
pub mod error;
pub mod explain;
pub mod install;
pub mod kubeconfig;
pub mod output;
pub mod pod;
pub mod proxy_config;
pub mod proxy_status;
pub mod render;
pub mod settings;
pub mod wait;
