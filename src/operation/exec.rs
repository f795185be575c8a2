//! stub
/// s
pub async fn exec(_s: &super::Session, _c: &[String]) -> Result<(), crate::error::Error> {
    Ok(())
}
