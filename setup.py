"""Python metadata and console scripts; colcon builds the package with CMakeLists.txt."""

from setuptools import find_packages, setup

setup(
    name="percept_ros",
    version="0.1.0",
    description="Real-time perception: cameras and a LiDAR in, tracked obstacles with predicted paths out.",
    license="Apache-2.0",
    packages=find_packages(include=["percept_ros", "percept_ros.*"]),
    python_requires=">=3.10,<3.14",
    install_requires=["numpy>=1.26", "scipy", "opencv-python-headless<5", "pyyaml", "psutil"],
    extras_require={
        "tensorrt": ["tensorrt", "pycuda", "cuda-bindings"],
        "train": ["torch"],
        "odometry": ["kiss-icp"],
    },
    entry_points={"console_scripts": ["percept = percept_ros.cli.main:main"]},
)
