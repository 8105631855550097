"""What a session does with packets: QoS, windows, queues, the disk. Pure but for its ports."""
