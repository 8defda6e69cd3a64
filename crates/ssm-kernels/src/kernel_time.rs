/// Time that one kernel took in all its launches.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// Its name, or the shape of a product.
    pub kernel: String,
    /// Launches.
    pub launches: usize,
    /// Seconds in all.
    pub seconds: f64,
}
