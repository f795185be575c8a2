//! stub
use super::Node;
/// s
#[derive(Debug, Clone)]
pub struct Selector(String);
impl Selector {
    /// p
    pub fn parse(text: &str) -> Result<Self, std::io::Error> {
        Ok(Self(text.to_owned()))
    }
    /// m
    #[must_use]
    pub fn matches(&self, _node: &Node) -> bool {
        !self.0.is_empty()
    }
}
