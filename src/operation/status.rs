//! stub
/// s
pub async fn status(_s: &super::Session) -> Result<(), crate::error::Error> {
    Ok(())
}
