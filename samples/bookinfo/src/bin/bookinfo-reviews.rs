//! The reviews service of Bookinfo.

use std::process::ExitCode;

use bookinfo::reviews::Reviews;
use bookinfo::settings::ReviewsSettings;

fn main() -> ExitCode {
    bookinfo::server::main("bookinfo-reviews", ReviewsSettings::read, Reviews::new)
}
