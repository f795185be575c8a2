
update -o Dir::Etc::SourceList="$1" -o Dir::Etc::SourceParts=/dev/null -o APT::Get::List-Cleanup=0
