global using Hyperscope.Kvmi;
global using Hyperscope.LinuxHost;
global using Hyperscope.Vm;
