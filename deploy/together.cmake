# Compiles small sources of a target together: what they all include is read once, which takes a third of the time.
#   trainyard_together(TARGET GROUP a.cc b.cc GROUP c.cc d.cc ...)
# Sources of a group must not use the same names in anonymous namespaces. Not for libraries of the small static programs
# (a program would get all of a group for one function of it), nor for the cores, which are quick and planted with bugs.
# TRAINYARD_TOGETHER=OFF compiles each by itself: it shows includes that are missing, and editors know every file then.
# (CMake's own UNITY_BUILD names files by absolute paths: ccache would not know them in another checkout.)
option(TRAINYARD_TOGETHER "Compile small sources together" ON)

function(trainyard_together target)
  if(NOT TRAINYARD_TOGETHER)
    return()
  endif()
  set(number 0)
  set(content "")
  foreach(source ${ARGN} GROUP)
    if(NOT source STREQUAL GROUP)
      get_filename_component(path ${source} ABSOLUTE)
      set_source_files_properties(${source} PROPERTIES HEADER_FILE_ONLY ON)
      foreach(base ${CMAKE_BINARY_DIR}/generated ${CMAKE_SOURCE_DIR})
        cmake_path(IS_PREFIX base ${path} below)
        if(below)
          file(RELATIVE_PATH path ${base} ${path})
        endif()
      endforeach()
      string(APPEND content "#include \"${path}\"\n")
    elseif(content)
      math(EXPR number "${number} + 1")
      set(file ${CMAKE_CURRENT_BINARY_DIR}/${target}_together_${number}.cc)
      file(CONFIGURE OUTPUT ${file} CONTENT "${content}" @ONLY)  # touched only when it changes
      target_sources(${target} PRIVATE ${file})
      set(content "")
    endif()
  endforeach()
endfunction()
