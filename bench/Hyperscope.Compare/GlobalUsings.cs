global using Hyperscope.Kvmi;
global using Hyperscope.Vm;
