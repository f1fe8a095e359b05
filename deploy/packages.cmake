# Three Debian packages, made by CPack (deploy/package): trainyard-controller, trainyard-agent, and trainyard (the command line).
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)

install(TARGETS trainyard-controller RUNTIME DESTINATION bin COMPONENT controller)
# The agent finds the small programs beside itself.
install(TARGETS trainyard-agent trainyard-shim trainyard-rsh trainyard-tasks trainyard-exec trainyard-gpus trainyard-helper
                trainyard-container
        RUNTIME DESTINATION bin COMPONENT agent)
install(TARGETS trainyard RUNTIME DESTINATION bin COMPONENT cli)

foreach(part controller agent)
  configure_file(deploy/systemd/trainyard-${part}.service.in ${CMAKE_BINARY_DIR}/deploy/trainyard-${part}.service @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/deploy/trainyard-${part}.service DESTINATION lib/systemd/system COMPONENT ${part})
  install(FILES deploy/config/${part}.json DESTINATION share/doc/trainyard-${part}/examples COMPONENT ${part})
endforeach()

# Not all that a build could make: what is packaged is named by deploy/package.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME trainyard)
set(CPACK_PACKAGE_CONTACT "The Trainyard developers <trainyard@localhost>")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "scheduler for distributed training on your own machines")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL controller agent cli)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_CONTROLLER_PACKAGE_NAME trainyard-controller)
set(CPACK_DEBIAN_CONTROLLER_PACKAGE_DEPENDS adduser)
set(CPACK_COMPONENT_CONTROLLER_DESCRIPTION "Trainyard's controller: keeps clusters, queues and jobs")
set(CPACK_DEBIAN_AGENT_PACKAGE_NAME trainyard-agent)
set(CPACK_DEBIAN_AGENT_PACKAGE_DEPENDS bash)
set(CPACK_DEBIAN_AGENT_PACKAGE_RECOMMENDS "openmpi-bin, python3")
set(CPACK_DEBIAN_AGENT_PACKAGE_SUGGESTS "nfs-ganesha-vfs, docker.io | podman")
set(CPACK_COMPONENT_AGENT_DESCRIPTION "Trainyard's agent: runs jobs on this machine")
set(CPACK_DEBIAN_CLI_PACKAGE_NAME trainyard)
set(CPACK_COMPONENT_CLI_DESCRIPTION "Trainyard's command line, Batch AI's by another name")
foreach(part CONTROLLER AGENT)
  string(TOLOWER ${part} folder)
  set(CPACK_DEBIAN_${part}_PACKAGE_CONTROL_STRICT_PERMISSION ON)
  set(CPACK_DEBIAN_${part}_PACKAGE_CONTROL_EXTRA
      "${CMAKE_SOURCE_DIR}/deploy/debian/${folder}/postinst;${CMAKE_SOURCE_DIR}/deploy/debian/${folder}/prerm")
endforeach()
include(CPack)
