/// A bucket and how it is reached.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// S3 client of the bucket's region.
    pub client: aws_sdk_s3::Client,
    /// Name of the bucket.
    pub name: String,
    /// Account that the bucket must belong to, twelve digits: sent with every call, S3 refuses when it is another's.
    pub owner: Option<String>,
}
