//! From what the preflight found to the condition `Validated`, in words and with the statement to paste.

use logwise_api::{LogwiseCluster, LogwiseClusterSpec};
use logwise_aws::{Check, Outcome, statement_line};
use logwise_kafka::acl::{self, Acl, NotChecked};
use logwise_runtime::conditions::{ConditionType, Draft, Reason, Truth};
use logwise_runtime::words::shortened;
use logwise_runtime::{Broken, ErrorClass, Refused};

/// Problems that are told; of the rest the number.
const MOST_PROBLEMS: usize = 3;

/// Longest text of another system in a problem, in characters.
const MOST_WORDS: usize = 160;

/// Longest next step, in characters; with the problems it stays below what a condition holds, so that nothing is cut out
/// of a statement.
const MOST_NEXT: usize = 580;

/// Longest account of the problems, in characters.
const MOST_FACTS: usize = 300;

/// What was found about one pipeline that may use what it refers to.
pub struct Findings<'a> {
    /// The pipeline.
    pub cluster: &'a LogwiseCluster,
    /// The account that its bucket must belong to.
    pub account: Option<&'a str>,
    /// AWS permissions.
    pub aws: Result<Vec<Check>, Refused>,
    /// Kafka ACLs.
    pub kafka: Result<Vec<Acl>, NotChecked>,
}

/// Something that is not as it must be, or not known.
struct Problem {
    truth: Truth,
    reason: Reason,
    fact: String,
    /// What a person does about it; empty: the fact says so.
    next: String,
}

/// How many of the permissions were verified, and what was not tested.
#[derive(Default)]
struct Count {
    verified: usize,
    of: usize,
    changing: Vec<&'static str>,
    unseen: Vec<&'static str>,
}

/// The condition that follows from `findings`.
pub fn of(findings: &Findings<'_>) -> Draft {
    let (mut problems, mut counts) = (Vec::new(), Vec::new());
    let (mut changing, mut unseen) = (Vec::new(), Vec::new());
    match &findings.aws {
        Ok(checks) => {
            let count = count_aws(checks);
            counts.extend(count.told("AWS permission"));
            changing = count.changing;
            problems.extend(aws_problems(findings, checks));
        }
        Err(refused) => problems.push(problem_of(refused)),
    }
    match &findings.kafka {
        Ok(acls) => {
            let count = count_kafka(acls);
            counts.extend(count.told("Kafka ACL"));
            unseen = count.unseen;
            problems.extend(kafka_problem(findings.cluster, acls));
        }
        Err(not_checked) => problems.push(not_checked_problem(not_checked)),
    }
    let verified = match counts.as_slice() {
        [] => String::new(),
        counts => format!("{} verified", counts.join(" and ")),
    };
    // What a person can mend comes before what may pass by itself.
    problems.sort_by_key(|problem| problem.truth != Truth::False);
    match problems.first() {
        None => passed(&verified, &changing, &unseen),
        Some(first) => failed(first, &problems, &verified),
    }
}

/// The object may not use what it refers to: nobody was asked.
pub fn refused(refused: &Refused) -> Draft {
    let problem = problem_of(refused);
    failed(&problem, std::slice::from_ref(&problem), "")
}

/// The check panicked or did not end.
pub fn broken(broken: &Broken) -> Draft {
    let message =
        format!("The preflight did not end: {broken}. It is tried again; please report this with the operator's log");
    Draft::new(ConditionType::Validated, Truth::Unknown, Reason::InternalError, message)
}

/// There is no verdict on this generation yet.
pub fn pending() -> Draft {
    let message = "References, AWS permissions and Kafka ACLs are being checked";
    Draft::new(ConditionType::Validated, Truth::Unknown, Reason::PreflightPending, message)
}

/// The operator's configuration switches the preflight off.
pub fn disabled() -> Draft {
    let message = "Nothing is checked: `preflight.enabled` is false in the operator's configuration";
    Draft::new(ConditionType::Validated, Truth::Unknown, Reason::PreflightDisabled, message)
}

fn passed(verified: &str, changing: &[&str], unseen: &[&str]) -> Draft {
    let mut message = match verified {
        "" => "The spec names nothing that takes a permission".to_owned(),
        verified => verified.to_owned(),
    };
    if !changing.is_empty() {
        message.push_str(&format!("; not tested, because it changes something: {}", changing.join(", ")));
    }
    if !unseen.is_empty() {
        message.push_str(&format!("; not tested, because no topic is to be seen yet: {}", unseen.join(", ")));
    }
    Draft::new(ConditionType::Validated, true, Reason::PreflightPassed, message)
}

fn failed(first: &Problem, problems: &[Problem], verified: &str) -> Draft {
    let mut facts: Vec<&str> = problems.iter().map(|problem| problem.fact.as_str()).collect();
    facts.dedup();
    let more = facts.len().saturating_sub(MOST_PROBLEMS);
    let mut message = shortened(&facts[..facts.len() - more].join("; "), MOST_FACTS);
    if more > 0 {
        message.push_str(&format!("; and {more} more"));
    }
    for part in [verified, first.next.as_str()].into_iter().filter(|part| !part.is_empty()) {
        message.push_str(". ");
        message.push_str(part);
    }
    let reason = if first.truth == Truth::False { first.reason } else { Reason::PreflightPending };
    Draft::new(ConditionType::Validated, first.truth, reason, message)
}

fn problem_of(refused: &Refused) -> Problem {
    let truth = if refused.class.needs_person() { Truth::False } else { Truth::Unknown };
    // A refusal is the fact and, in further sentences, what to do about it.
    let (fact, next) = refused.message.split_once(". ").unwrap_or((&refused.message, ""));
    Problem { truth, reason: refused.reason, fact: fact.to_owned(), next: next.to_owned() }
}

impl Count {
    fn told(&self, what: &str) -> Option<String> {
        let plural = if self.of == 1 { "" } else { "s" };
        (self.of > 0).then(|| format!("{} of {} {what}{plural}", self.verified, self.of))
    }
}

fn count_aws(checks: &[Check]) -> Count {
    let mut count = Count::default();
    for check in checks {
        match check.result {
            Outcome::NotTested => count.changing.push(check.permission),
            Outcome::Ok => {
                count.verified += 1;
                count.of += 1;
            }
            _ => count.of += 1,
        }
    }
    count
}

fn count_kafka(acls: &[Acl]) -> Count {
    let mut count = Count::default();
    for acl in acls {
        match acl.result {
            acl::Outcome::NotTested(_) => count.unseen.push(acl.operation.name()),
            acl::Outcome::Allowed => {
                count.verified += 1;
                count.of += 1;
            }
            _ => count.of += 1,
        }
    }
    count
}

fn aws_problems(findings: &Findings<'_>, checks: &[Check]) -> Vec<Problem> {
    let denied: Vec<Check> = checks.iter().filter(|c| matches!(c.result, Outcome::Denied(_))).cloned().collect();
    // Whoever is not let in has not been asked the rest, and needs to hear of one thing only.
    let outside = denied.first().is_some_and(|check| check.permission.starts_with("sts:"));
    let told = if outside { &denied[..] } else { checks };
    told.iter().filter_map(|check| aws_problem(findings, check, &denied)).collect()
}

fn aws_problem(findings: &Findings<'_>, check: &Check, denied: &[Check]) -> Option<Problem> {
    let Check { permission, resource, result } = check;
    let is_s3 = permission.starts_with("s3:");
    let (truth, reason, fact, next) = match result {
        Outcome::Ok | Outcome::NotTested => return None,
        Outcome::Denied(words) if *permission == "sts:AssumeRole" => {
            // The words hold the statement for the trust policy.
            (Truth::False, Reason::PermissionDenied, format!("{permission} on {resource} is denied"), words.clone())
        }
        Outcome::Denied(words) if *permission == "sts:GetCallerIdentity" => {
            let fact = format!("AWS does not accept the caller: {}", shortened(words, MOST_WORDS));
            (Truth::False, Reason::PermissionDenied, fact, credentials(&findings.cluster.spec))
        }
        Outcome::Denied(words) => {
            let fact = format!("{permission} on {resource} is denied: {}", shortened(words, MOST_WORDS));
            (Truth::False, Reason::PermissionDenied, fact, permit(findings, denied))
        }
        Outcome::OtherRegion(words) => {
            let next = "`aws.region` and `storage.bucketName` are immutable: make a LogwiseCluster with the right ones";
            let fact = format!("The bucket lies in another region: {}", shortened(words, MOST_WORDS));
            (Truth::False, Reason::BucketInOtherRegion, fact, next.to_owned())
        }
        Outcome::Wrong(words) => {
            let reason = match words.as_str() {
                words if is_s3 && words.starts_with("NoSuchBucket") => Reason::BucketNotFound,
                words if !is_s3 && words.starts_with("no Auto Scaling group") => Reason::GroupNotFound,
                _ => Reason::InvalidSpec,
            };
            let next = "Create it, or correct the spec".to_owned();
            (Truth::False, reason, format!("{resource}: {}", shortened(words, MOST_WORDS)), next)
        }
        Outcome::Unknown(why) => {
            let fact = format!("{permission} could not be checked: {}", shortened(why, MOST_WORDS));
            (Truth::Unknown, Reason::PreflightPending, fact, "It is tried again".to_owned())
        }
    };
    Some(Problem { truth, reason, fact, next })
}

/// What gives everything that is denied, and where it belongs.
fn permit(findings: &Findings<'_>, denied: &[Check]) -> String {
    let aws = findings.cluster.spec.aws.as_ref();
    let role = aws.and_then(|aws| aws.role_arn.as_ref()).map(|role| format!("role {role}"));
    let secret = aws.and_then(|aws| aws.credentials_secret_ref.as_ref());
    let user = || secret.map(|secret| format!("the IAM user of the keys in Secret {}", secret.name));
    let who = role.or_else(user).unwrap_or_else(|| "the operator's own IAM role".to_owned());
    let account = match findings.account {
        Some(account) if denied.iter().any(|check| check.permission.starts_with("s3:")) => {
            format!("; S3 says the same if the bucket is not of account {account}")
        }
        _ => String::new(),
    };
    pasted(&format!("Add to a policy of {who}{account}: "), &statement_line(denied), "docs/aws-permissions.md")
}

fn credentials(spec: &LogwiseClusterSpec) -> String {
    let secret = spec.aws.as_ref().and_then(|aws| aws.credentials_secret_ref.as_ref());
    match secret {
        Some(secret) => format!("Correct the keys in Secret {}", secret.name),
        None => "Give the operator credentials: docs/aws-permissions.md#credentials".to_owned(),
    }
}

/// One problem for all ACLs that are denied, or else for those that are unknown.
fn kafka_problem(cluster: &LogwiseCluster, acls: &[Acl]) -> Option<Problem> {
    let denied: Vec<String> = acls.iter().filter_map(denied_acl).collect();
    if !denied.is_empty() {
        let command = acl::statement(cluster, acls).unwrap_or_default();
        return Some(Problem {
            truth: Truth::False,
            reason: Reason::TopicAuthorizationFailed,
            fact: format!("Kafka denies {}", denied.join(", ")),
            next: pasted("Run as an administrator of Kafka: ", &command, "docs/kafka-permissions.md"),
        });
    }
    let unknown = acls.iter().find_map(|acl| match &acl.result {
        acl::Outcome::Unknown(why) => Some(format!("Kafka's {} could not be checked: {why}", acl.operation.name())),
        _ => None,
    });
    unknown.map(|fact| Problem {
        truth: Truth::Unknown,
        reason: Reason::PreflightPending,
        fact,
        next: "It is tried again".to_owned(),
    })
}

fn denied_acl(acl: &Acl) -> Option<String> {
    let acl::Outcome::Denied(topics) = &acl.result else { return None };
    let first = shortened(topics.first()?, MOST_WORDS);
    let more = match topics.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!("{} on {first}{more}", acl.operation.name()))
}

fn not_checked_problem(not_checked: &NotChecked) -> Problem {
    let again = "It is tried again".to_owned();
    match not_checked {
        NotChecked::Refused(refused) => problem_of(refused),
        NotChecked::Invalid(invalid) => {
            let fact = invalid.to_string();
            Problem { truth: Truth::False, reason: Reason::InvalidSpec, fact, next: "Correct the spec".to_owned() }
        }
        NotChecked::Failed(error) => {
            let fact = error.message();
            let (truth, reason, next) = match error.class() {
                ErrorClass::Denied => {
                    let next = "Correct the Secret that `kafka.authentication` or `kafka.tls` names".to_owned();
                    (Truth::False, Reason::PermissionDenied, next)
                }
                ErrorClass::Invalid => {
                    (Truth::False, Reason::InvalidSpec, "Correct `kafka`, or what its Secrets hold".to_owned())
                }
                _ => (Truth::Unknown, Reason::PreflightPending, again),
            };
            Problem { truth, reason, fact, next }
        }
    }
}

/// The statement as a whole, or where it can be read if it would have to be cut.
fn pasted(before: &str, statement: &str, page: &str) -> String {
    let whole = format!("{before}{statement}");
    if whole.chars().count() <= MOST_NEXT {
        return whole;
    }
    format!("{before}what {page} shows")
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_kafka::acl::Operation;
    use serde_json::{Value, json};

    const BUCKET: &str = "arn:aws:s3:::shop-logs";

    fn cluster(aws: &Value) -> LogwiseCluster {
        let topics = json!({"namePrefix": "logs."});
        let kafka = json!({
            "bootstrapServers": ["k:9092"], "topics": topics, "partitionScaling": {"mode": "Automatic"},
        });
        let object = json!({
            "apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster", "metadata": {"name": "a"},
            "spec": {"aws": aws, "kafka": kafka},
        });
        serde_json::from_value(object).expect("a LogwiseCluster")
    }

    fn check(permission: &'static str, resource: &str, result: Outcome) -> Check {
        Check { permission, resource: resource.to_owned(), result }
    }

    fn denied(words: &str) -> Outcome {
        Outcome::Denied(words.to_owned())
    }

    fn acls(results: [acl::Outcome; 3]) -> Vec<Acl> {
        let operations = [Operation::Describe, Operation::DescribeConfigs, Operation::Alter];
        operations.into_iter().zip(results).map(|(operation, result)| Acl { operation, result }).collect()
    }

    fn good_acls() -> Vec<Acl> {
        acls([const { acl::Outcome::Allowed }; 3])
    }

    fn verdict(checks: Vec<Check>, kafka: Vec<Acl>) -> Draft {
        let cluster = cluster(&json!({"region": "eu-west-1"}));
        of(&Findings { cluster: &cluster, account: None, aws: Ok(checks), kafka: Ok(kafka) })
    }

    fn said(draft: &Draft) -> (&'static str, &'static str) {
        (draft.truth.name(), draft.reason.name())
    }

    #[test]
    fn what_passed_is_counted_and_what_was_not_tested_is_said() {
        let checks = vec![
            check("s3:ListBucket", BUCKET, Outcome::Ok),
            check("s3:PutLifecycleConfiguration", BUCKET, Outcome::NotTested),
        ];
        let untested = || acl::Outcome::NotTested("none".to_owned());
        let draft = verdict(checks, acls([acl::Outcome::Allowed, untested(), untested()]));
        assert_eq!(said(&draft), ("True", "PreflightPassed"));
        assert_eq!(
            draft.message,
            "1 of 1 AWS permission and 1 of 1 Kafka ACL verified; not tested, because it changes something: \
             s3:PutLifecycleConfiguration; not tested, because no topic is to be seen yet: DescribeConfigs, Alter"
        );
        assert_eq!(verdict(vec![], vec![]).message, "The spec names nothing that takes a permission");
    }

    #[test]
    fn a_missing_permission_comes_with_one_statement_for_all_that_are_missing() {
        let words = format!("AccessDenied: {}", "x".repeat(400));
        let checks = vec![
            check("s3:GetLifecycleConfiguration", BUCKET, denied(&words)),
            check("s3:ListBucket", BUCKET, denied(&words)),
        ];
        let draft = verdict(checks, good_acls());
        assert_eq!(said(&draft), ("False", "PermissionDenied"));
        let message = &draft.message;
        assert!(message.starts_with("s3:GetLifecycleConfiguration on arn:aws:s3:::shop-logs is denied"), "{message}");
        assert!(
            message.contains("0 of 2 AWS permissions and 3 of 3 Kafka ACLs verified. Add to a policy"),
            "{message}"
        );
        let statement: Value = serde_json::from_str(&message[message.find('{').unwrap()..]).unwrap();
        assert_eq!(statement["Action"], json!(["s3:GetLifecycleConfiguration", "s3:ListBucket"]));
        assert!(message.chars().count() < 1_000, "{message}");
    }

    #[test]
    fn where_the_statement_belongs_follows_from_whose_calls_they_are() {
        let checks = || Ok(vec![check("s3:ListBucket", BUCKET, denied("no"))]);
        let secret = json!({"region": "eu-west-1", "credentialsSecretRef": {"name": "keys"}});
        let role = json!({"region": "eu-west-1", "roleARN": "arn:aws:iam::123456789012:role/own"});
        for (aws, who) in [
            (json!({"region": "eu-west-1"}), "the operator's own IAM role"),
            (secret, "the IAM user of the keys in Secret keys"),
            (role, "role arn:aws:iam::123456789012:role/own"),
        ] {
            let cluster = cluster(&aws);
            let account = Some("123456789012");
            let draft = of(&Findings { cluster: &cluster, account, aws: checks(), kafka: Ok(vec![]) });
            assert!(draft.message.contains(who), "{}", draft.message);
            assert!(draft.message.contains("not of account 123456789012"), "{}", draft.message);
        }
    }

    #[test]
    fn a_statement_too_long_is_not_cut_but_told_where_to_read() {
        let resource = format!("arn:aws:s3:::{}", "b".repeat(600));
        let draft = verdict(vec![check("s3:ListBucket", &resource, denied("no"))], vec![]);
        assert!(draft.message.ends_with("what docs/aws-permissions.md shows"), "{}", draft.message);
        assert!(!draft.message.contains('{'), "{}", draft.message);
    }

    #[test]
    fn whoever_is_not_let_in_hears_of_that_only() {
        let not_asked = || Outcome::Unknown("not asked".to_owned());
        let checks = vec![
            check("sts:GetCallerIdentity", "*", denied("no AWS credentials were found for the operator")),
            check("s3:ListBucket", BUCKET, not_asked()),
        ];
        let draft = verdict(checks, vec![]);
        assert_eq!(said(&draft), ("False", "PermissionDenied"));
        assert!(draft.message.contains("docs/aws-permissions.md#credentials"), "{}", draft.message);
        assert!(!draft.message.contains("s3:ListBucket"), "{}", draft.message);
    }

    #[test]
    fn things_that_are_elsewhere_or_not_there_have_reasons_of_their_own() {
        let words = |text: &str| text.to_owned();
        for (permission, result, reason) in [
            ("s3:ListBucket", Outcome::OtherRegion(words("PermanentRedirect")), "BucketInOtherRegion"),
            ("s3:ListBucket", Outcome::Wrong(words("NoSuchBucket: none")), "BucketNotFound"),
            ("s3:ListBucket", Outcome::Wrong(words("MalformedXML: bad")), "InvalidSpec"),
            (
                "autoscaling:DescribeAutoScalingGroups",
                Outcome::Wrong(words("no Auto Scaling group has the name g in r")),
                "GroupNotFound",
            ),
        ] {
            assert_eq!(said(&verdict(vec![check(permission, BUCKET, result)], good_acls())), ("False", reason));
        }
    }

    #[test]
    fn what_is_unknown_is_neither_verified_nor_denied_and_comes_after_what_is() {
        let silent = check("s3:ListBucket", BUCKET, Outcome::Unknown("no answer in time".to_owned()));
        let draft = verdict(vec![silent.clone()], good_acls());
        assert_eq!(said(&draft), ("Unknown", "PreflightPending"));
        assert!(draft.message.contains("0 of 1 AWS permission and 3 of 3 Kafka ACLs verified"), "{}", draft.message);
        let topics = acl::Outcome::Denied(vec!["logs.a".to_owned(), "logs.b".to_owned()]);
        let draft = verdict(vec![silent], acls([acl::Outcome::Allowed, acl::Outcome::Allowed, topics]));
        assert_eq!(said(&draft), ("False", "TopicAuthorizationFailed"));
        let message = &draft.message;
        assert!(
            message.starts_with("Kafka denies Alter on logs.a and 1 more; s3:ListBucket could not be"),
            "{message}"
        );
        assert!(
            message.ends_with("--operation Alter --operation Read --topic logs. --resource-pattern-type prefixed"),
            "{message}"
        );
    }

    #[test]
    fn a_refusal_keeps_its_reason_and_its_command() {
        let command = format!("kubectl create role --resource-name={}", "s".repeat(250));
        let message =
            format!("spec.aws.credentialsSecretRef.name: the operator may not read Secret s. Apply: {command}");
        let refusal = Refused { reason: Reason::SecretForbidden, message, class: ErrorClass::Denied };
        let draft = refused(&refusal);
        assert_eq!(said(&draft), ("False", "SecretForbidden"));
        assert_eq!(draft.message, refusal.message);
        let later = Refused { class: ErrorClass::Transient, reason: Reason::RetryingAfterError, ..refusal };
        assert_eq!(said(&refused(&later)), ("Unknown", "PreflightPending"));
    }
}
