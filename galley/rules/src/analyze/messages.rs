//! Codes and levels of the messages that analyzers give.

use crate::report::{Code, Diagnostic, Level, Origin};

/// A kind of message.
#[derive(Clone, Copy)]
pub(super) struct Message(u16, Level);

impl Message {
    /// The message about an object.
    pub(super) fn about(self, origin: &Origin, text: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.1, Code(self.0), origin.clone(), text)
    }
}

pub(super) const DEPRECATED: Message = Message(2, Level::Warning);
pub(super) const REFERENCED_RESOURCE_NOT_FOUND: Message = Message(101, Level::Error);
pub(super) const NAMESPACE_NOT_INJECTED: Message = Message(102, Level::Info);
pub(super) const POD_MISSING_PROXY: Message = Message(103, Level::Warning);
pub(super) const SCHEMA_VALIDATION_ERROR: Message = Message(106, Level::Error);
pub(super) const MISPLACED_ANNOTATION: Message = Message(107, Level::Warning);
pub(super) const UNKNOWN_ANNOTATION: Message = Message(108, Level::Warning);
pub(super) const CONFLICTING_MESH_GATEWAY_HOSTS: Message = Message(109, Level::Error);
pub(super) const CONFLICTING_SIDECAR_SELECTORS: Message = Message(110, Level::Error);
pub(super) const MULTIPLE_SIDECARS: Message = Message(111, Level::Error);
pub(super) const DESTINATION_PORT_REQUIRED: Message = Message(112, Level::Error);
pub(super) const DEPLOYMENT_OF_SEVERAL_SERVICES: Message = Message(116, Level::Warning);
pub(super) const PORT_NAME: Message = Message(118, Level::Info);
pub(super) const SEVERAL_INJECTION_LABELS: Message = Message(123, Level::Warning);
pub(super) const INVALID_ANNOTATION: Message = Message(125, Level::Warning);
pub(super) const UNKNOWN_SERVICE_REGISTRY: Message = Message(126, Level::Error);
pub(super) const NO_MATCHING_WORKLOADS: Message = Message(127, Level::Warning);
pub(super) const NO_SERVER_VERIFICATION: Message = Message(128, Level::Warning);
pub(super) const NO_SERVER_VERIFICATION_OF_PORT: Message = Message(129, Level::Warning);
pub(super) const HOST_NOT_FOUND_IN_GATEWAY: Message = Message(132, Level::Warning);
pub(super) const SCHEMA_WARNING: Message = Message(133, Level::Warning);
pub(super) const ADDRESSES_REQUIRED: Message = Message(134, Level::Warning);
pub(super) const DEPRECATED_ANNOTATION: Message = Message(135, Level::Info);
pub(super) const ALPHA_ANNOTATION: Message = Message(136, Level::Info);
pub(super) const CONFLICTING_PORTS: Message = Message(137, Level::Warning);
pub(super) const DUPLICATE_CERTIFICATE: Message = Message(138, Level::Warning);
pub(super) const INVALID_WEBHOOK: Message = Message(139, Level::Error);
pub(super) const RULES_NOT_AT_GATEWAY: Message = Message(140, Level::Warning);
pub(super) const APPLICATION_UID: Message = Message(144, Level::Warning);
pub(super) const CONFLICTING_GATEWAYS: Message = Message(145, Level::Error);
pub(super) const IMAGE_AUTO_WARNING: Message = Message(146, Level::Warning);
pub(super) const IMAGE_AUTO_ERROR: Message = Message(147, Level::Error);
pub(super) const INJECTION_BY_DEFAULT: Message = Message(148, Level::Info);
pub(super) const JWT_ROUTING_WITHOUT_AUTHENTICATION: Message = Message(149, Level::Error);
pub(super) const EXTERNAL_NAME_PORT: Message = Message(150, Level::Warning);
pub(super) const RELATIVE_OPERATION: Message = Message(151, Level::Warning);
pub(super) const REPLACE_OPERATION: Message = Message(152, Level::Error);
pub(super) const ADD_OPERATION: Message = Message(153, Level::Error);
pub(super) const REMOVE_OPERATION: Message = Message(154, Level::Error);
pub(super) const RELATIVE_WITH_VERSION: Message = Message(155, Level::Warning);
pub(super) const TELEMETRY_PROVIDER: Message = Message(157, Level::Warning);
pub(super) const PROXY_IMAGE_MISMATCH: Message = Message(158, Level::Warning);
pub(super) const CONFLICTING_TELEMETRY_SELECTORS: Message = Message(159, Level::Error);
pub(super) const MULTIPLE_TELEMETRIES: Message = Message(160, Level::Error);
pub(super) const INVALID_GATEWAY_CREDENTIAL: Message = Message(161, Level::Error);
pub(super) const PORT_NOT_ON_SERVICE: Message = Message(162, Level::Warning);
pub(super) const EXTERNAL_CONTROL_PLANE: Message = Message(163, Level::Warning);
pub(super) const EXTERNAL_ADDRESS: Message = Message(164, Level::Info);
pub(super) const INTERNAL_GATEWAY: Message = Message(165, Level::Warning);
pub(super) const INEFFECTIVE_SELECTOR: Message = Message(166, Level::Warning);
pub(super) const INEFFECTIVE_POLICY: Message = Message(167, Level::Warning);
pub(super) const NEGATIVE_CONDITION: Message = Message(171, Level::Warning);
pub(super) const SUBSET_WITHOUT_PODS: Message = Message(173, Level::Error);
pub(super) const UNKNOWN_HOST: Message = Message(174, Level::Warning);
pub(super) const JWKS_FETCH_UNRESTRICTED: Message = Message(175, Level::Warning);
pub(super) const GATEWAY_API_TOO_OLD: Message = Message(176, Level::Warning);
pub(super) const CONFLICTING_PROTOCOL: Message = Message(177, Level::Warning);
