use crate::controller::Context;
use logwise_aws::{Owner, Pipeline, Whom};
use logwise_plan::grants::Reference;
use logwise_runtime::Refused;

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

/// A bucket as somebody names it who has yet to be allowed to use it.
pub(crate) struct Named<'a> {
    /// Namespace of the object that names it.
    pub namespace: &'a str,
    /// Name of the pipeline.
    pub pipeline: &'a str,
    /// Everything that is called for it, each with the path of its field.
    pub references: Vec<(String, Reference)>,
    /// Name of the bucket.
    pub bucket: &'a str,
    /// Its region.
    pub region: &'a str,
    /// The role in which it is called.
    pub role_arn: Option<&'a str>,
    /// Name of the Secret with the keys.
    pub secret: Option<&'a str>,
    /// The account that it belonged to when it was last used; one that the grants name counts more.
    pub account: Option<&'a str>,
}

impl Named<'_> {
    /// Whether the operator may call what is named, and as whom: nothing is called before.
    pub(crate) async fn reach(self, context: &Context) -> Result<Bucket, Refused> {
        let shell = &context.shell;
        let allowed = shell.access.decide(self.namespace, &self.references)?;
        let pipeline = Pipeline { installation: &context.installation, namespace: self.namespace, name: self.pipeline };
        let (region, role_arn, secret) = (self.region, self.role_arn, self.secret);
        let whom = Whom { pipeline, region, role_arn, secret, endpoints: &allowed.endpoints };
        let clients = logwise_aws::clients(&context.aws, &shell.secrets, whom).await?;
        let account = allowed.bucket_owner.or_else(|| self.account.map(str::to_owned));
        // Twelve digits: the grants were checked when they were read.
        let owner = account.as_ref().and_then(|account| account.parse::<Owner>().ok());
        Ok(Bucket { client: clients.s3(owner.as_ref()), name: self.bucket.to_owned(), owner: account })
    }
}
