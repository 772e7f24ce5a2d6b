"""The parameters that the nodes of others declare, read from their sources, for config/*.yaml.

robot_localization: `RosFilter::loadParams` of src/ros_filter.cpp, for ROS 2, in
github.com/cra-ros-pkg/robot_localization at commit 0009b577ef9395a0395797b709ca1be7622244bb. A
later state of that file, which declares parameters with their types, has the same names.

nav2_lifecycle_manager: `LifecycleManager::LifecycleManager` of src/lifecycle_manager.cpp in
github.com/ros-navigation/navigation2, with the diagnostics and the respawn of 2022 and later.

nav2_map_server: `MapServer::MapServer` of src/map_server/map_server.cpp of the same.
"""

EKF = {
    'print_diagnostics', 'gravitational_acceleration', 'debug', 'debug_out_file', 'map_frame',
    'odom_frame', 'base_link_frame', 'base_link_frame_output', 'world_frame', 'tf_prefix',
    'publish_tf', 'publish_acceleration', 'permit_corrected_publication',
    'transform_time_offset', 'transform_timeout', 'frequency', 'sensor_timeout', 'two_d_mode',
    'smooth_lagged_data', 'history_length', 'reset_on_time_jump', 'use_control',
    'control_timeout', 'control_config', 'acceleration_limits', 'acceleration_gains',
    'deceleration_limits', 'deceleration_gains', 'dynamic_process_noise_covariance',
    'initial_state', 'disabled_at_startup', 'process_noise_covariance',
    'initial_estimate_covariance',
}  # fmt: skip
"""Of ekf_node itself; rclcpp adds use_sim_time."""

EKF_INPUTS = {
    'odom': {
        '', '_config', '_differential', '_relative', '_pose_rejection_threshold',
        '_twist_rejection_threshold', '_queue_size',
    },
    'pose': {'', '_config', '_differential', '_relative', '_rejection_threshold', '_queue_size'},
    'twist': {'', '_config', '_rejection_threshold', '_queue_size'},
    'imu': {
        '', '_config', '_differential', '_relative', '_pose_rejection_threshold',
        '_twist_rejection_threshold', '_linear_acceleration_rejection_threshold',
        '_remove_gravitational_acceleration', '_queue_size',
    },
}  # fmt: skip
"""Of its inputs: after the kind and the number of one, as `pose0_config`."""

STATES = 15
"""Numbers of a `*_config`, and rows of a covariance."""

LIFECYCLE_MANAGER = {
    'node_names', 'autostart', 'bond_timeout', 'bond_respawn_max_duration',
    'attempt_respawn_reconnection',
}  # fmt: skip
MAP_SERVER = {'yaml_filename', 'topic_name', 'frame_id'}
