package rollout

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConditionUpgradeable is the type of the condition in which OLM is told whether it may install the operator's next version
// (OLM: OperatorCondition, operators.coreos.com/v2).
const ConditionUpgradeable = "Upgradeable"

// ReasonOperatorStopped is that of an operator that has nothing more to say.
const ReasonOperatorStopped = "OperatorStopped"

// Upgradeable returns the condition, without its time. The snapshot's MetalLB is nil where none is served.
//
// It is False with RollingOut while a rollout gets on: the version that began it ends it. It is True with AsExpected while there
// is none, and with RolloutStuck or ApplyFailed while one cannot go on: the next version may be the one that mends it. What
// has been counted is not in the message: OLM would be written to with each pod.
func Upgradeable(s Snapshot) metav1.Condition {
	if s.MetalLB == nil {
		return condition(ConditionUpgradeable, true, ReasonAsExpected, "There is no MetalLB resource: nothing is rolled out.")
	}
	of := fmt.Sprintf("MetalLB %s/%s", s.MetalLB.Namespace, s.MetalLB.Name)
	switch {
	case len(s.ApplyErrors) > 0:
		return condition(ConditionUpgradeable, true, ReasonApplyFailed,
			fmt.Sprintf("Not everything can be applied for %s: see its condition Degraded. Another version may mend it.", of))
	case len(s.stuck()) > 0:
		return condition(ConditionUpgradeable, true, ReasonRolloutStuck,
			fmt.Sprintf("The rollout for %s stands still: see its condition Degraded. Another version may mend it.", of))
	case s.SpeakersWait || !s.Progress.complete():
		return condition(ConditionUpgradeable, false, ReasonRollingOut,
			fmt.Sprintf("Controller and speakers are rolled out for %s. The next version waits until they are, or until nothing has moved for %s.", of, Deadline))
	}
	return condition(ConditionUpgradeable, true, ReasonAsExpected, fmt.Sprintf("Controller and speakers of %s are up to date.", of))
}

// Stopped returns the condition that an operator leaves which stops while it rolls out: who is not there must not be
// waited for.
func Stopped() metav1.Condition {
	return condition(ConditionUpgradeable, true, ReasonOperatorStopped, "The operator has stopped during a rollout. It goes on with it when it runs again.")
}
