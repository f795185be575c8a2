//! stub
/// a
#[derive(Debug, clap::Args)]
pub struct Args {}
impl Args {
    pub(super) fn run(self) -> Result<(), crate::error::Error> {
        Ok(())
    }
}
