"""An arm of seven joints as any ROS 1 program is: rospy and its own messages, nothing of laminar. Run by itself.

It shows itself at a rate, goes where the newest command says, and prints on SIGTERM what it was told.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time

sys.path.append("/usr/lib/python3/dist-packages")

import rospy
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger, TriggerResponse
from trajectory_msgs.msg import JointTrajectory

NAMES = [f"joint{i}" for i in range(7)]


class Arm:
    def __init__(self) -> None:
        self.positions, self.ages, self.jump = [0.0] * 7, [], 0.0
        self.shown = rospy.Publisher("/arm/joints", JointState, queue_size=1, tcp_nodelay=True)
        rospy.Subscriber("/arm/command", JointTrajectory, self.obey, queue_size=1, tcp_nodelay=True)
        rospy.Service("/arm/reset", Trigger, self.reset)

    def obey(self, command: JointTrajectory) -> None:
        self.ages.append(time.time() - command.header.stamp.to_sec())
        wanted = dict(zip(command.joint_names, command.points[0].positions, strict=True))
        positions = [wanted[name] for name in NAMES]
        self.jump = max(self.jump, max(abs(a - b) for a, b in zip(positions, self.positions, strict=True)))
        self.positions = positions

    def reset(self, request: object) -> TriggerResponse:
        self.positions, self.jump = [0.0] * 7, 0.0
        return TriggerResponse(True, "at zero")

    def show(self) -> None:
        state = JointState(name=NAMES, position=self.positions, velocity=[0.0] * 7)
        state.header.stamp = rospy.Time.now()
        self.shown.publish(state)


def main(rate: float) -> None:
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    rospy.init_node("arm", disable_signals=True)
    arm, due = Arm(), time.monotonic()
    print("ready", flush=True)
    while not over.is_set():
        due += 1 / rate
        time.sleep(max(due - time.monotonic(), 0.0))
        arm.show()
    ages = sorted(arm.ages) or [0.0]
    told = {"commands": len(arm.ages), "oldest": ages[-1], "p99": ages[int(0.99 * len(ages))], "jump": arm.jump}
    print(json.dumps(told), flush=True)
    rospy.signal_shutdown("over")


main(float(sys.argv[1]))
